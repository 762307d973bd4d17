"""YAML in which every scalar is the text it is, so that a label `NO` does not become False; repeated keys are refused.

It alone knows this loader, which task files, benchmark grids and stacks share; it needs no torch.
"""

import yaml


class TextLoader(yaml.SafeLoader):
    """A SafeLoader of texts, lists of them and mappings between them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 (the signature of yaml)
        """A mapping, each key of which occurs once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} occurs twice", node.start_mark)
        mapping: dict[object, object] = super().construct_mapping(node, deep=deep)
        return mapping


TextLoader.yaml_implicit_resolvers = {}
