"""Follow channels through a network: which ones leave it together or not at all.

    conv1 -> norm -> relu -+-> conv2       channel k of conv1 is read by conv2 as channel k,
    conv3 -----------------+ (sum)         and by the sum as channel k of conv3: one class

Each channel belongs to one class. Surgery removes whole classes, so the number of living classes
gives the sizes of the smaller network before it is built (`ssbench.pruning.cuts`).

A *selection point* is a module that may read fewer channels than its source has, by an index before
it: a batch norm fed by more than its own convolution (the channel selection of network slimming,
section 3.4), and a linear layer after a flattening, which reads each channel at several places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from ssbench.pruning.graph.channel_counts import counted_channels
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.roles import Role, concatenated, part_of

CHANNELWISE = (Role.NORM, Role.HOMOGENEOUS, Role.ZERO_AT_ZERO, Role.CHANNELWISE)


@dataclass(frozen=True)
class Channels:
    """The class of each channel; all vectors are long tensors of class numbers.

    Attributes:
        count: the number of classes.
        fixed: whether each class always stays [count].
        outputs: by layer, the class of each output channel.
        inputs: by layer, the class of each channel that it reads (for a selection point, of each
            place); None if the source is unknown; then it is read whole.
        norms: by batch norm, the class of each output channel.
        sources: by selection point, the class of each channel before it, one entry per input of
            the point.
        vectors: by name of another module with a parameter per channel (PReLU), the classes.
        why: by layer, the operations that keep its output channels.
    """

    count: int
    fixed: Tensor
    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor | None]
    norms: dict[str, Tensor]
    sources: dict[str, Tensor]
    vectors: dict[str, Tensor]
    why: dict[str, list[str]]


def read_channels(
    graph: fx.Graph, roles: Mapping[fx.Node, Role], layers: tuple[Layer, ...]
) -> Channels:
    """Follow the channels through a traced network."""
    return _Reader(graph, roles, layers).read()


def selecting_norms(graph: fx.Graph, roles: Mapping[fx.Node, Role]) -> frozenset[str]:
    """Return batch norms that may read a part of their source: others read it, or no layer made it.

    Only batch norms of maps [N, C, H, W], and none with an operation after it that makes silent
    channels nonzero.
    """
    norms = [node for node in graph.nodes if roles[node] is Role.NORM]
    names = [str(node.target) for node in norms]
    return frozenset(
        str(node.target)
        for node in norms
        if node.meta.get("maps")
        and names.count(str(node.target)) == 1
        and not _is_own(node, roles)
        and not _wakes(node, roles)
    )


def _is_own(node: fx.Node, roles: Mapping[fx.Node, Role]) -> bool:
    """Whether a batch norm is the only reader of a layer, perhaps after channel-wise steps."""
    while True:
        node = node.all_input_nodes[0]
        if sum(roles[user] is not Role.SHAPE for user in node.users) > 1:
            return False
        if roles[node] not in CHANNELWISE:
            return roles[node] is Role.LAYER


def _wakes(node: fx.Node, roles: Mapping[fx.Node, Role]) -> bool:
    return any(
        roles[user] is Role.CHANNELWISE or (roles[user] is not Role.LAYER and _wakes(user, roles))
        for user in node.users
    )


@dataclass
class _Reader:
    graph: fx.Graph
    roles: Mapping[fx.Node, Role]
    layers: tuple[Layer, ...]
    parent: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    reasons: dict[int, set[str]] = field(default_factory=dict)

    def read(self) -> Channels:
        self.by_name = {layer.name: layer for layer in self.layers}
        self.selecting = selecting_norms(self.graph, self.roles)
        self.outputs: dict[str, Tensor] = {}
        self.inputs: dict[str, Tensor | None] = {}
        self.norms: dict[str, Tensor] = {}
        self.sources: dict[str, Tensor] = {}
        self.vectors: dict[str, Tensor] = {}
        self.given: dict[fx.Node, Tensor | None] = {}
        self.counted = counted_channels(self.graph, self.roles)
        for node in self.graph.nodes:
            self.given[node] = self._node(node)
        return self._numbered()

    def _node(self, node: fx.Node) -> Tensor | None:
        role = self.roles[node]
        if role is Role.INPUT:
            return self._fix(self._new(self.layers[0].inputs), "the image")
        if role is Role.SHAPE:
            return None
        nodes = [n for n in node.all_input_nodes if self.roles[n] is not Role.SHAPE]
        sources = [self.given[n] for n in nodes]
        self._keep_counted(node, role, sources)
        if role is Role.LAYER:
            return self._layer(self.by_name[str(node.target)], sources[0])
        if role in CHANNELWISE and len(sources) == 1:
            return self._channelwise(node, role, sources[0])
        if role in (Role.ADD, Role.MULTIPLY):
            return self._joined(nodes, str(node.name))
        if role is Role.CONCATENATE:
            parts = [self.given[part] for part in concatenated(node)]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                return torch.cat(known)
        if role is Role.PART and sources[0] is not None:
            part = sources[0][part_of(node)]
            if len(part) < len(sources[0]):  # the index does not change, so its channels must stay
                self._fix(sources[0], str(node.name))
            return part
        for source in sources:
            self._fix(source, "the output" if role is Role.OUTPUT else _label(node))
        return None

    def _new(self, count: int) -> Tensor:
        begin = len(self.parent)
        self.parent.extend(range(begin, begin + count))
        return torch.arange(begin, begin + count)

    def _fix(self, ids: Tensor | None, why: str) -> Tensor | None:
        if ids is not None:
            numbers = ids.tolist()
            self.fixed.update(numbers)
            for number in numbers:
                self.reasons.setdefault(number, set()).add(why)
        return ids

    def _keep_counted(self, node: fx.Node, role: Role, sources: list[Tensor | None]) -> None:
        """Keep all channels of maps whose number others are given; maps may have their own."""
        for count in node.all_input_nodes:
            for maps in self.counted.get(count, ()):
                if role not in CHANNELWISE or self.given[maps] is not sources[0]:
                    self._fix(self.given[maps], _label(node))

    def _layer(self, layer: Layer, source: Tensor | None) -> Tensor:
        self.inputs[layer.name] = source
        if source is not None and source.numel() != layer.inputs:
            places, left = divmod(layer.inputs, source.numel())
            if left or layer.kind == "conv":
                self.inputs[layer.name] = None
                self._fix(source, f"the width of {layer.name}")
            else:
                self.sources[layer.name] = source.repeat_interleave(places)
                self.inputs[layer.name] = self._new(layer.inputs)
        self.outputs[layer.name] = ids = self._new(layer.outputs)
        if layer.is_output:
            self._fix(ids, "the output")
        return ids

    def _channelwise(self, node: fx.Node, role: Role, source: Tensor | None) -> Tensor | None:
        name = str(node.target)
        if node.op == "call_module" and source is not None:
            if role is not Role.NORM:
                self.vectors[name] = source
            elif name in self.selecting:
                self.sources[name] = source
                self.norms[name] = source = self._new(source.numel())
            elif name in self.norms:  # called twice
                self._tie(self.norms[name], source)
            else:
                self.norms[name] = source
        return source

    def _joined(self, nodes: list[fx.Node], name: str) -> Tensor | None:
        """Return the classes of a sum or product: tie channel k of each operand."""
        ids = [self.given[n] for n in nodes if not _is_scalar(n)]
        known = [each for each in ids if each is not None]
        width = max((each.numel() for each in known), default=0)
        wide = [each for each in known if each.numel() == width]
        narrow = [each for each in known if each.numel() != width]
        for each in narrow:
            self._fix(each, name)
        if len(known) < len(ids) or any(each.numel() != 1 for each in narrow):
            for each in wide:
                self._fix(each, name)
            return None
        for each in wide[1:]:
            self._tie(wide[0], each)
        return wide[0] if wide else None

    def _tie(self, first: Tensor, second: Tensor) -> None:
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            roots = sorted((self._root(one), self._root(other)))
            self.parent[roots[1]] = roots[0]

    def _root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def _numbered(self) -> Channels:
        roots = torch.tensor([self._root(number) for number in range(len(self.parent))])
        distinct, classes = torch.unique(roots, return_inverse=True)
        fixed = torch.zeros(len(distinct), dtype=torch.bool)
        fixed[classes[torch.tensor(sorted(self.fixed), dtype=torch.long)]] = True
        reasons: dict[int, set[str]] = {}
        for number, why in self.reasons.items():
            reasons.setdefault(int(classes[number]), set()).update(why)
        return Channels(
            count=len(distinct),
            fixed=fixed,
            outputs={name: classes[ids] for name, ids in self.outputs.items()},
            inputs={n: None if ids is None else classes[ids] for n, ids in self.inputs.items()},
            norms={name: classes[ids] for name, ids in self.norms.items()},
            sources={name: classes[ids] for name, ids in self.sources.items()},
            vectors={name: classes[ids] for name, ids in self.vectors.items()},
            why={
                name: sorted(set().union(*(reasons.get(int(c), set()) for c in classes[ids])))
                for name, ids in self.outputs.items()
            },
        )


def _is_scalar(node: fx.Node) -> bool:
    return node.op == "get_attr" and node.meta.get("numel") == 1


def _label(node: fx.Node) -> str:
    """Return a readable name of an operation: the module's, or the function's."""
    if node.op == "call_module":
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target))
