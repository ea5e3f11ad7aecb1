"""A file of numpy arrays as a data set: ``npz:PATH``; see `ssbench.data.own.arrays`."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace

import numpy as np

from ssbench.data.dataset import DataSet
from ssbench.data.own.arrays import arrays
from ssbench.data.own.assemble import assemble
from ssbench.data.own.settings import Request
from ssbench.data.picture import shown
from ssbench.errors import BadInputError


def npz(request: Request) -> DataSet:
    """Read a file of arrays; nothing in it is unpickled.

    Raises:
        BadInputError: it cannot be read, or an array breaks a rule.
    """
    path = request.path
    try:
        with path.open("rb") as stream:  # numpy would leave a damaged file open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadInputError(
                    f"{request.place}: {shown(path)} holds one array; save several with np.savez"
                )
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BadInputError(
            f"{request.place}: {shown(path)} cannot be read ({reason}); save it with np.savez"
        ) from error
    parts = arrays(found, request, "npz")
    return assemble(request, replace(parts, places=(path,)))
