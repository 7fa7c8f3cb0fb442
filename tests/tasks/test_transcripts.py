"""Reading sounds with transcripts: each form from a folder and from a zip file, and errors with file and line."""

import re
import zipfile

import numpy as np
import pytest

from numpylm.audio import write_wav
from numpylm.tasks.transcripts import check_sources, read_transcripts

FORMS = {
    "common voice": {"train.tsv": "client_id\tpath\tsentence\nx\ta.wav\tone two\nx\tb.wav\tthree\n"},
    "no header": {"list.tsv": "clips/a.wav\tone two\nclips/b.wav\tthree\n"},
    "csv": {"list.csv": 'file_name,text\nclips/a.wav,"one   two"\nclips/b.wav,three\n'},
    "json lines": {
        "manifest.jsonl": '{"audio_filepath": "./clips/a.wav", "text": "one two", "duration": 1}\n'
        '{"audio_filepath": "clips\\\\b.wav", "text": "three"}\n'
    },
    "librispeech": {"clips/1-2.trans.txt": "a one two\nb three\n"},
    "text files": {"clips/a.txt": "one two\n", "clips/b.txt": " three", "README.txt": "nothing"},
}


@pytest.fixture
def folder(tmp_path):
    """Two sounds of different length, and one without a transcript."""
    (tmp_path / "clips").mkdir()
    for name, length in (("a", 400), ("b", 800), ("c", 500)):
        write_wav(tmp_path / "clips" / f"{name}.wav", np.full(length, 0.25, np.float32), 8000)
    return tmp_path


def zipped(folder):
    with zipfile.ZipFile(folder.parent / "sounds.zip", "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder))
    return folder.parent / "sounds.zip"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_form(folder, form, packed, capsys):
    for name, text in FORMS[form].items():
        (folder / name).write_text(text)
    source = zipped(folder) if packed else folder
    check_sources([str(source)])
    found = read_transcripts([str(source)])
    assert [(u.place.name, u.text) for u in found] == [("a.wav", "one two"), ("b.wav", "three")]
    assert [len(u.samples()) for u in found] == [800, 1600]  # at 16 kHz
    assert "2 sounds with transcripts" in capsys.readouterr().out


def test_a_table_can_be_named_itself(folder):
    (folder / "all.json").write_text('[{"path": "a", "text": "one"}, {"path": "b", "sentence": "two"}]')
    assert [u.text for u in read_transcripts([str(folder / "all.json")])] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "path\tsentence\nclips/a.wav\tone\nclips/d.wav\ttwo\n", "line 3 of .*x.tsv: there is no sound"),
        ("x.tsv", "path\tsentence\nclips/a.wav\n", "line 2 of .*x.tsv has 1 columns, and 2 are expected"),
        ("x.csv", "path,sentence\nclips/a.wav,one, two\n", "line 2 of .*x.csv has 3 columns.*needs quotes"),
        ("x.tsv", "path\tspeech\nclips/a.wav\tone\n", "line 1 of .*names no column sentence or text"),
        ("x.jsonl", '{"text": "one"}\n', "line 1 of .*x.jsonl needs texts under audio_filepath and text"),
        ("x.jsonl", '{"path": "a", "text": "one"}\n{"path"\n', "line 2"),
        ("x.tsv", "a.wav\tone\nclips/a.wav\ttwo\n", "line 2 of .*another transcript"),
        ("clips/x.trans.txt", "a one\nz two\n", "line 2 of .*x.trans.txt: there is no sound"),
        ("x.tsv", "a.wav\tone\n", "has 1 sounds with transcripts; training needs at least 2"),
        ("notes.md", "nothing", "3 sounds and no transcripts: it needs a table"),
    ],
)
def test_errors_name_the_line(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_transcripts([str(folder)])


def test_a_name_that_two_sounds_have_is_refused(folder):
    (folder / "more").mkdir()
    write_wav(folder / "more" / "a.wav", np.zeros(300, np.float32), 8000)
    (folder / "x.tsv").write_text("a.wav\tone\nclips/b.wav\ttwo\n")
    with pytest.raises(ValueError, match=r"line 1 of .*could be 'clips/a\.wav' or 'more/a\.wav'"):
        read_transcripts([str(folder)])


def test_empty_transcripts_are_left_out(folder, capsys):
    (folder / "x.tsv").write_text("clips/a.wav\tone\nclips/b.wav\t \nclips/c.wav\ttwo\n")
    assert [u.text for u in read_transcripts([str(folder)])] == ["one", "two"]
    assert "left out    1 sounds with an empty transcript" in capsys.readouterr().out


def test_what_is_no_source_is_refused_before_any_work(folder):
    (folder / "x.zip").write_bytes(b"PK\3\4 cut off")
    for path, kind, message in (
        ("nothing", FileNotFoundError, "no such file or folder"),
        ("clips/a.wav", ValueError, "is no folder, zip file or table"),
        ("x.zip", ValueError, "is no folder, zip file or table"),
    ):
        with pytest.raises(kind, match=message):
            check_sources([str(folder / path)])


def test_a_damaged_sound_is_named(folder):
    (folder / "clips" / "b.wav").write_bytes(b"RIFF")
    (folder / "x.tsv").write_text("clips/a.wav\tone\nclips/b.wav\ttwo\n")
    with pytest.raises(ValueError, match=re.escape("b.wav")):
        read_transcripts([str(zipped(folder))])[1].samples()


def damaged(source, change):
    """A copy of a zip file with other bytes at the beginning of its first sound."""
    data = bytearray(source.read_bytes())
    at = data.index(b"RIFF")
    change(data, at)
    (source.parent / "damaged.zip").write_bytes(data)
    return source.parent / "damaged.zip"


def test_a_damaged_or_encrypted_zip_is_one_error(folder):
    for name, text in FORMS["text files"].items():
        (folder / name).write_text(text)
    (folder / "clips" / "c.txt").write_text("four")
    source = zipped(folder)

    def wrong_byte(data, at):
        data[at + 50] ^= 1

    def encrypted(data, at):
        for header, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = data.find(header)
            while start >= 0:
                data[start + place] |= 1
                start = data.find(header, start + 4)

    with pytest.raises(ValueError, match=r"\.wav.* cannot be read from its zip file .*CRC"):
        [u.samples() for u in read_transcripts([str(damaged(source, wrong_byte))])]
    with pytest.raises(ValueError, match=r"cannot be read from its zip file .*encrypted.*: unpack it"):
        read_transcripts([str(damaged(source, encrypted))])


def test_a_link_to_the_folder_above_gives_no_sound_twice(folder):
    try:
        (folder / "clips" / "again").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    for name in ("a", "b"):
        (folder / "clips" / f"{name}.TXT").write_text(name)
    assert [u.text for u in read_transcripts([str(folder)])] == ["a", "b"]


def test_tables_of_other_things_and_files_of_macos_are_left_out(folder, capsys):
    (folder / "train.tsv").write_text(FORMS["common voice"]["train.tsv"])
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\na.wav\t50\n")
    (folder / "clips" / "._a.wav").write_bytes(b"Mac")
    (folder / "._train.tsv").write_bytes(b"\0\5\x16\7")
    assert len(read_transcripts([str(folder)])) == 2
    assert "left out    a table: line 1 of" in capsys.readouterr().out
    with pytest.raises(ValueError, match="names no column"):
        read_transcripts([str(folder / "clip_durations.tsv")])


def test_a_quote_that_nothing_closes_is_an_error(folder):
    (folder / "list.csv").write_text('path,text\na.wav,"one\nb.wav,two\n')
    with pytest.raises(ValueError, match=r"list\.csv is broken"):
        read_transcripts([str(folder)])
    (folder / "list.csv").write_text('path,text\na.wav,"one\nb.wav,two"\n')
    with pytest.raises(ValueError, match=r"line 3 of .*list\.csv: a line ends inside of quotes"):
        read_transcripts([str(folder)])


def test_what_common_voice_did_not_confirm_is_left_out(folder, capsys):
    (folder / "train.tsv").write_text(FORMS["common voice"]["train.tsv"])
    (folder / "invalidated.tsv").write_text("client_id\tpath\tsentence\nx\tc.wav\twrong\n")
    assert [u.text for u in read_transcripts([str(folder)])] == ["one two", "three"]
    assert "invalidated.tsv: sounds that people did not confirm" in capsys.readouterr().out
