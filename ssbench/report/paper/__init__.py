"""Tables 1 to 3 of Lin et al. (NeurIPS 2018)."""
