import pytest

from petapter_schemas.label_cells import join_labels, split_labels


@pytest.mark.parametrize("names", [(), ("a|b",), ("c\\d", "e"), ("a|b", "c\\d", "e"), ("\\|", "|\\", "\\\\")])
def test_cell_of_joined_labels_splits_into_them(names: tuple[str, ...]) -> None:
    assert sorted(split_labels(join_labels(names))) == sorted(names)
