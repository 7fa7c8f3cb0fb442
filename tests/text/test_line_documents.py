"""Which files are lists of short texts, and which are one text: a text that is cut by mistake loses its context."""

import textwrap

import pytest

from numpylm.text.line_documents import Lines, cut_lines, kind_of_lines

NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mary ann", "O'Brien", "Jean-Luc", "Łukasz", "Zoë"]
SENTENCES = [
    "Where is my new card?",
    "The exchange rate is wrong.",
    "I was charged twice!",
    "A dog runs across the grass",
    "Can I top up with a friend's card?",
    'He said "wait for me."',
]
PROSE = (
    "It was late when the two of them came down to the harbour, and the boats had gone. Nobody spoke; the older one, "
    "who had lived here all his life, looked at the water. There was nothing to be done before the morning, he said. "
)
POEM = [
    "Of man's first disobedience, and the fruit",
    "Of that forbidden tree, whose mortal taste",
    "Brought death into the world, and all our woe,",
    "With loss of Eden, till one greater man",
    "Restore us, and regain the blissful seat,",
    "Sing, heavenly Muse, that on the secret top.",
]
END_STOPPED = ["The night is long.", "No bird will sing.", "I wait alone.", "The lamp is low.", "And still the snow,"]
FREE_VERSE = [
    "so much depends upon the red",
    "wheel barrow glazed with rain",
    "water beside the white and small chickens",
]
CODE = ["def f(x):", "    if x:", "        return x + 1", "    return f(x - 1)  # again.", "", "print(f(3))"]
PLAY = ["First Citizen:", "Before we proceed any further, hear me speak.", "", "All:", "Speak, speak.", ""]
DIALOGUE = ["Anna: Where have you been?", "Ben: At the market.", "Anna: Did you buy bread?", "Ben: I forgot."]
SPEECH = ["— Where have you been?", "— At the market.", "– And the bread?", "- I forgot."]
QUOTED = ['"I see," she said.', "“And the bread?”", "„Morgen.“", "« Demain. »"]
CSV = ["2026-01-02,17.5,rain", "2026-01-03,18.0,sun", "2026-01-04,16.2,rain"]
LOG = ["[12:00:01] worker 3 started", "[12:00:02] worker 4 started (retry=2)", "[12:00:03] error: disk full"]
SETTINGS = ["n_layer = 4", "n_head = 4", "dtype = float32"]
MARKDOWN = ["# Title", "Some words.", "- an item", "- another item.", "> quoted.", "1. first."]
CHINESE_POEM = ["床前明月光", "疑是地上霜", "舉頭望明月", "低頭思故鄉"]
CHINESE_STANZAS = ["白玉誰家郎，回車渡天津。", "看花東上陌，驚動洛陽人。", ""]
QUATRAINS = [
    "畫君年少時，如今君已老。今時新識人，知君舊時好。",
    "下澤逢蛇蓋是常，還如山上見豺狼。國中有怪非蛇獸，不用賢良。",
]


def text_of(lines, count=300):
    return "".join(lines[i % len(lines)] + "\n" for i in range(count))


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (NAMES, "names, words or other short entries"),
        (SENTENCES, "sentences"),
        (QUATRAINS, "sentences"),
        (["他的思维方式很幼稚。", "你在做什么？"], "sentences"),
        (["王维", "李白", "杜甫", "白居易"], "names, words or other short entries"),
        (["Hi.\t嗨。", "Run.\t你用跑的。", "so bad\t0"], "records with tabs"),
    ],
)
def test_lists_are_known(lines, kind):
    assert kind_of_lines([text_of(lines)]) == kind


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(textwrap.fill(PROSE * 60, 72), id="wrapped"),
        pytest.param("\n\n".join([textwrap.fill(PROSE * 2, 72)] * 40), id="paragraphs"),
        pytest.param(text_of([PROSE * 3]), id="long lines"),
        pytest.param(text_of(POEM), id="poem"),
        pytest.param(text_of(END_STOPPED), id="end-stopped poem"),
        pytest.param(text_of(FREE_VERSE), id="free verse"),
        pytest.param(text_of(CODE), id="code"),
        pytest.param(text_of(PLAY), id="play"),
        pytest.param(text_of(DIALOGUE), id="dialogue"),
        pytest.param(text_of(SPEECH), id="speech"),
        pytest.param(text_of(QUOTED), id="quoted"),
        pytest.param(text_of(CSV), id="csv"),
        pytest.param(text_of(LOG), id="log"),
        pytest.param(text_of(SETTINGS), id="settings"),
        pytest.param(text_of(MARKDOWN), id="markdown"),
        pytest.param(text_of(CHINESE_POEM), id="Chinese poem"),
        pytest.param(text_of(CHINESE_STANZAS), id="Chinese stanzas"),
    ],
)
def test_texts_whose_lines_belong_together_are_not_cut(text):
    assert len(text.splitlines()) > 100
    assert kind_of_lines([text]) is None


def test_a_few_lines_are_no_list():
    assert kind_of_lines([text_of(NAMES, 99)]) is None
    assert kind_of_lines([text_of(NAMES, 100)]) == "names, words or other short entries"


def test_a_list_may_have_a_blank_line_after_each_name():
    assert kind_of_lines(["\n\n".join(text_of(NAMES, 200).split("\n"))]) == "names, words or other short entries"
    assert kind_of_lines(["\n\n".join(text_of(SENTENCES, 200).split("\n"))]) is None  # these may be paragraphs


def test_one_text_among_lists_keeps_all_whole():
    assert kind_of_lines([text_of(NAMES), text_of(NAMES)]) == "names, words or other short entries"
    assert kind_of_lines([text_of(NAMES), text_of(CODE)]) is None
    assert kind_of_lines([text_of(NAMES), text_of(SENTENCES)]) is None


def test_lines_without_text_count_for_nothing():
    assert Lines.of("").kind is None
    assert Lines.of("\n \n").count == 0
    assert cut_lines(["a\n\n b\n", "\t\nc"]) == ["a", " b", "c"]
