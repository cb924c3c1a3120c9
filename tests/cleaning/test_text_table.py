"""A csv comes back with the repaired cells changed and nothing else."""

import pytest

from skinfluence.cleaning.files import read_table

ROWS = [
    '007,"a, b",NA,false,yes',
    "1152921504606846977,,null,TRUE,no",
    '008, 1.50 ,"say ""so""",1,"yes"',
    "",
    '009,"two\nlines",é,1e3,no',
    "010,=1+1,N/A,0x1F,yes",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("last", [True, False])
def test_only_the_repaired_cells_change(end, encoding, last, tmp_path):
    before = end.join(["id,text,land,flag,label", *ROWS]) + (end if last else "")
    path = tmp_path / "data.csv"
    path.write_bytes(before.encode(encoding))
    _, _, source = read_table(path)
    assert source.edited("label", {}, []) == path.read_bytes()
    assert source.cells["id"].tolist() == ["007", "1152921504606846977", "008", "009", "010"]
    after = [*ROWS]
    after[1] = after[1].replace(",no", ",yes")
    after[2] = after[2].replace('"yes"', '"no"')
    del after[4]
    expected = end.join(["id,text,land,flag,label", *after]) + (end if last else "")
    assert source.edited("label", {1: "yes", 2: "no"}, [3]) == expected.encode(encoding)
