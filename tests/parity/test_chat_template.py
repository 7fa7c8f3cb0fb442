"""Chat templates give the ids of transformers' apply_chat_template, for tokenizers and templates as in known models."""

import random

import pytest

transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")
tokenizers = pytest.importorskip("tokenizers", reason="pip install -e '.[parity]' to run the parity tests")
pytest.importorskip("jinja2")

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

from numpylm.corpora import CORPORA  # noqa: E402
from numpylm.text.any_tokenizer import load_tokenizer  # noqa: E402
from numpylm.text.chat_template import chat_ids, chat_tokens, train_chat_tokenizer  # noqa: E402
from numpylm.text.conversation import Message, as_conversation  # noqa: E402
from numpylm.text.gguf_tokenizer import LLAMA3_PATTERN, QWEN2_PATTERN  # noqa: E402
from tests.parity.difficult_strings import difficult_strings  # noqa: E402
from tests.parity.test_other_tokenizers import BYTES, known, smollm2, smollm2_file, split  # noqa: E402, F401

STORIES = "\n\n".join(CORPORA["stories"].documents(40_000))

# Written for this test, each in the manner of a published model.
LLAMA3 = """{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- if ns.system or tools is not none %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + ns.system + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant'] %}{{ raise_exception('unknown role ' + message.role) }}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
QWEN2 = """{% for message in messages %}
    {% if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nYou answer.<|im_end|>\\n' }}
    {%- endif %}
    {% if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}
        {{- '\\n' }}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% else %}
{{ '<|assistant|>\\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}{{ ' ' + message.content | trim + "
    "eos_token }}{% else %}{{ '[INST] ' + message.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
JSON = "{% for m in messages %}{{ m | tojson }}{{ [m.content] | tojson(indent=2) }}<|im_end|>{% endfor %}"


def byte_level(steps, marks, normalizer=None):
    rust = tokenizers.Tokenizer(models.BPE())
    rust.normalizer, rust.decoder = normalizer, decoders.ByteLevel()
    rust.pre_tokenizer = pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    rust.train_from_iterator([STORIES], trainer)
    rust.add_special_tokens([*marks])
    return rust


def characters(marks):
    """BPE of characters with a space before the text, as in Llama 2."""
    rust = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=first, show_progress=False)
    rust.train_from_iterator([line.replace(" ", "▁") for line in STORIES.split(".")], trainer)
    rust.add_special_tokens([*marks])
    return rust


KINDS = {
    "llama 3": (
        lambda: byte_level(
            split(LLAMA3_PATTERN), ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        ),
        LLAMA3,
        ("<|begin_of_text|>", "<|eot_id|>"),
    ),
    "qwen2": (
        lambda: byte_level(split(QWEN2_PATTERN), ["<|im_start|>", "<|im_end|>"], normalizers.NFC()),
        QWEN2,
        (None, "<|im_end|>"),
    ),
    "json": (lambda: byte_level([BYTES], ["<|im_start|>", "<|im_end|>"]), JSON, (None, "<|im_end|>")),
    "zephyr in bytes": (lambda: byte_level([BYTES], ["<s>", "</s>"]), ZEPHYR, ("<s>", "</s>")),
    "zephyr": (lambda: characters(["<s>", "</s>"]), ZEPHYR, ("<s>", "</s>")),
    "mistral": (lambda: characters(["<s>", "</s>"]), MISTRAL, ("<s>", "</s>")),
    "stripping": (
        lambda: byte_level([BYTES], [AddedToken("<|im_start|>", rstrip=True), AddedToken("<|im_end|>", rstrip=True)]),
        QWEN2,
        (None, "<|im_end|>"),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """transformers' tokenizer, and ours from its files."""
    make, template, (bos, eos) = KINDS[request.param]
    folder = tmp_path_factory.mktemp("chat")
    marks = {name: mark for name, mark in (("bos_token", bos), ("eos_token", eos)) if mark}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=make(), chat_template=template, **marks)
    theirs.save_pretrained(folder)
    return theirs, load_tokenizer(folder)


def conversations(count, seed=0, marks=()):
    """Conversations of difficult strings without marks, some with a system message, ended by either side."""
    rng, texts = random.Random(seed), [known(text) for text in difficult_strings(count, seed)]
    texts = [text for text in texts if text.strip() and not any(mark in text for mark in marks)]
    while texts:
        size = rng.randint(1, 6)
        some, texts = texts[:size], texts[size:]
        system = [("system", some.pop())] if len(some) > 1 and rng.random() < 0.5 else []
        yield as_conversation([*system, *((("user", "assistant")[n % 2], text) for n, text in enumerate(some))])


def theirs_of(tokenizer, messages, reply):
    plain = [message._asdict() for message in messages]
    found = tokenizer.apply_chat_template(plain, add_generation_prompt=reply, tokenize=True, return_dict=False)
    return list(found)


def test_the_ids_of_conversations(both):
    theirs, ours = both
    for messages in conversations(320, marks=ours.special_tokens):
        for reply in (True, False):
            assert chat_ids(ours, messages, reply) == theirs_of(theirs, messages, reply), messages


def test_text_that_looks_like_marks_changes_only_itself(both):
    """All ids are those that transformers gives with other marks in the messages, apart from the marks' own ids."""
    theirs, ours = both
    marks = {mark: i for mark, i in ours.special_tokens.items() if not mark.startswith("<0x")}
    special = set(marks.values())
    for mark in marks:
        for text in (f"a {mark} b", mark, f"x\n{mark}user\n", f" {mark}{mark} "):
            messages = as_conversation([("user", text), ("assistant", "ok")])
            ids = chat_ids(ours, messages, reply=False)
            benign = [message._replace(content=message.content.replace(mark, "?")) for message in messages]
            assert [i for i in ids if i in special] == [i for i in theirs_of(theirs, benign, False) if i in special]
            written = theirs.apply_chat_template([m._asdict() for m in messages], tokenize=False)
            if not (any(token.rstrip for token in ours.added_tokens) or getattr(ours, "prefix", False)):
                assert ours.decode(ids) == written


def test_which_tokens_count(both):
    """Where the template marks answers itself, transformers returns a mask, too."""
    theirs, ours = both
    if "generation %}" not in theirs.chat_template:
        pytest.skip("this template does not mark answers")
    for messages in conversations(150, seed=3, marks=ours.special_tokens):
        trimmed = [Message(m.role, f"x{m.content}x") for m in messages]  # no token reaches across the border
        plain = [message._asdict() for message in trimmed]
        found = theirs.apply_chat_template(plain, return_dict=True, return_assistant_tokens_mask=True)
        ids, counted = chat_tokens(ours, trimmed)
        assert ids == list(found["input_ids"])
        assert counted == [bool(flag) for flag in found["assistant_masks"]]


def test_our_own_form_is_understood_by_transformers(tmp_path):
    from numpylm.files.tokenizer_export import export_tokenizer

    ours = train_chat_tokenizer([STORIES], 500)
    export_tokenizer(ours, tmp_path, 1000)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.eos_token == "<|end|>"
    for messages in conversations(300, seed=5, marks=ours.special_tokens):
        for reply in (True, False):
            assert chat_ids(ours, messages, reply) == theirs_of(theirs, messages, reply), messages


@pytest.mark.slow
def test_smollm2_own_template(smollm2, smollm2_file):  # noqa: F811
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_file.parent, gguf_file=smollm2_file.name)
    rust = tokenizers.Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES])
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=rust, chat_template=theirs.chat_template, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    for messages in conversations(900, seed=7, marks=smollm2.special_tokens):
        for reply in (True, False):
            assert chat_ids(smollm2, messages, reply) == theirs_of(theirs, messages, reply), messages
