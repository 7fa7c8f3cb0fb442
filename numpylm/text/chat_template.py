"""The form of a chat: from messages to ids, in our own form or by the Jinja template of a published model."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from json import dumps
from typing import Any, NoReturn

import regex

from numpylm.system.json_fields import brief
from numpylm.system.optional_packages import needed
from numpylm.text.any_tokenizer import common_prefix, end_ids
from numpylm.text.conversation import ASSISTANT, ROLES, USER, Message
from numpylm.text.pretokenize import GPT2_PATTERN, special_regex, utf8
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.tokenizer_config import Chat

END = "<|end|>"
MARK_OF = {role: f"<|{role}|>" for role in ROLES}  # the token before a message
CHAT_TOKENS = (*MARK_OF.values(), END)  # the special tokens of chats that are trained here
# GPT-2's pattern, but a number is cut into pairs of digits, and the space before it is apart. So a number that never
# occurred consists of tokens that did, and copying it means copying these.
CHAT_PATTERN = GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}{1,2}")
# The same form for other programs. We do not render it: the marks are put between contents that are encoded alone.
OWN_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NO_CHAT = (
    f"this model has no form of a chat: its tokenizer has neither the tokens {' '.join(CHAT_TOKENS)} nor a chat "
    "template. Train a model with numpylm train --task chat, or take one that was published as Instruct or Chat"
)
OLDEST_JINJA = (3, 1, 6)  # before, a template could leave the sandbox (CVE-2025-27516)
PRIVATE = range(0xE000, 0xF8FF)  # code points that no text should contain


def train_chat_tokenizer(texts: Sequence[str], vocab_size: int, whole_characters: int = 0) -> Tokenizer:
    """A tokenizer for chats in our own form. `Tokenizer.train` explains the arguments."""
    plain = Tokenizer.train(
        texts, vocab_size, CHAT_TOKENS, CHAT_PATTERN, progress=True, whole_characters=whole_characters
    )
    special = plain.special_tokens
    return Tokenizer(plain.vocab, plain.merges, special, CHAT_PATTERN, chat=Chat(OWN_TEMPLATE, eos_ids=(special[END],)))


def can_chat(tokenizer: Any) -> bool:
    """Whether a tokenizer has the form of a chat."""
    return bool(_template(tokenizer)) or _is_own(tokenizer)


def chat_ids(tokenizer: Any, messages: Sequence[Message], reply: bool = True) -> list[int]:
    """The ids of some messages. No content becomes a special token, so nobody can forge the turn of another.

    Parameters
    ----------
    tokenizer
    messages : sequence of Message
    reply : bool
        Whether the ids end where the assistant's answer begins.

    Raises
    ------
    ValueError
        If the tokenizer has no form of a chat, or its template refuses the messages.
    ModuleNotFoundError
        If the template needs the package jinja2, and it is not installed.
    """
    if not _is_own(tokenizer):
        return _encode(tokenizer, *_render(tokenizer, messages, reply))
    special = tokenizer.special_tokens
    ids = []
    for role, content in messages:
        if role not in ROLES:
            raise ValueError(f"unknown role {brief(role)}; the roles are {', '.join(ROLES)}")
        ids += [special[MARK_OF[role]], *tokenizer.encode(content), special[END]]
    return [*ids, special[MARK_OF[ASSISTANT]]] if reply else ids


def chat_tokens(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and which of them the assistant writes: its messages, each with its end of turn.

    Raises
    ------
    ValueError
        As in `chat_ids`, and if the text of the first messages is not the beginning of the text of all messages:
        then it is not known what the model sees before it answers.
    """
    if _is_own(tokenizer):  # each message is encoded alone, so each is encoded once
        parts = [(chat_ids(tokenizer, [message], reply=False), message.role == ASSISTANT) for message in messages]
        ids = [i for part, _ in parts for i in part]
        return ids, [answers and n > 0 for part, answers in parts for n in range(len(part))]
    ids = chat_ids(tokenizer, messages, reply=False)
    counted = [False] * len(ids)
    for n, message in enumerate(messages):
        if message.role == ASSISTANT:
            start = _length(tokenizer, messages, ids, n, True)
            stop = _length(tokenizer, messages, ids, n + 1, False)
            special = [i for i in range(start, stop) if ids[i] in tokenizer.special_tokens.values()]
            if special and tokenizer.decode(ids[special[-1] + 1 : stop]).strip():
                raise ValueError(
                    "the chat template writes no token after an answer, so a model that learns it never stops: this "
                    "model can chat, but not be trained on chats"
                )
            stop = special[-1] + 1 if special else stop  # without a line end after the end of turn
            counted[start:stop] = [True] * (stop - start)
    return ids, counted


def chat_end_ids(tokenizer: Any) -> set[int]:
    """The ids that end an answer: those that end a text, and the end of turn of this form."""
    if _is_own(tokenizer):
        return end_ids(tokenizer) | {tokenizer.special_tokens[token] for token in CHAT_TOKENS}
    special = set(tokenizer.special_tokens.values())
    ids = chat_ids(tokenizer, (Message(USER, "a"), Message(ASSISTANT, "a")), reply=False)
    last = max((n for n, i in enumerate(ids) if i in special), default=-1)
    ends = last >= 0 and not tokenizer.decode(ids[last + 1 :]).strip()  # a token before the answer ends nothing
    return end_ids(tokenizer) | ({ids[last]} if ends else set())


def _template(tokenizer: Any) -> str:
    return getattr(tokenizer, "chat_template", "")


def _is_own(tokenizer: Any) -> bool:
    """Whether the form is ours. (Phi-3's special tokens have the same names, but its template is another one.)"""
    return _template(tokenizer) in ("", OWN_TEMPLATE) and all(t in tokenizer.special_tokens for t in CHAT_TOKENS)


def _length(tokenizer: Any, messages: Sequence[Message], ids: Sequence[int], count: int, reply: bool) -> int:
    """How many of the ids belong to the first ``count`` messages. A token across the border belongs to what follows."""
    if not _is_own(tokenizer):
        rendered = (_render(tokenizer, some, r) for some, r in ((messages, False), (messages[:count], reply)))
        whole, part = (text.translate(stands_for) for text, stands_for in rendered)
        if not whole.startswith(part):
            raise ValueError(
                "the chat template writes earlier messages in another way when later ones follow, so it is not known "
                "what this model sees before an answer: it can chat, but not be trained on chats"
            )
    return common_prefix([ids, chat_ids(tokenizer, messages[:count], reply)])


# ------------------------------------------------------------------------------------------ Jinja templates


def _render(tokenizer: Any, messages: Sequence[Message], reply: bool) -> tuple[str, dict[int, str]]:
    """The text that the template makes, with stand-ins for some characters, and what these stand for."""
    template = _template(tokenizer)
    if not template:
        raise ValueError(NO_CHAT)
    contents, stands_for = _shield([message.content for message in messages], tokenizer)
    text_of = {i: text for text, i in tokenizer.special_tokens.items()}
    marks = {"bos_token": text_of.get(tokenizer.bos_id), "eos_token": text_of.get(next(iter(tokenizer.eos_ids), -1))}
    try:
        text = _compiled(template).render(
            messages=[{"role": m.role, "content": content} for m, content in zip(messages, contents, strict=True)],
            tools=None,
            documents=None,
            add_generation_prompt=reply,
            **{name: mark for name, mark in marks.items() if mark is not None},
        )
    except ModuleNotFoundError:
        raise
    except Exception as error:  # a template is a program, in which any error may occur
        raise ValueError(f"the chat template of this model reports: {error or type(error).__name__}") from None
    return text, stands_for


def _shield(contents: Sequence[str], tokenizer: Any) -> tuple[list[str], dict[int, str]]:
    """Contents in which no special token is found any more, and what their stand-ins stand for.

    In each text of a special token, also in those that overlap, a private character stands for the first character.
    Other contents stay as they are, because a template may look at them or strip them.
    """
    for content in contents:
        utf8(content)  # raises an error for half a character
    find = special_regex(tokenizer.special_tokens)
    places = [{m.start() for m in find.finditer(content, overlapped=True)} if find else set() for content in contents]
    if not any(places):
        return list(contents), {}
    first = sorted({content[at] for content, found in zip(contents, places, strict=True) for at in found})
    used = set("".join((*contents, *tokenizer.special_tokens, _template(tokenizer))))
    free = [code for code in PRIVATE if chr(code) not in used]
    if len(free) < len(first):
        raise ValueError("the messages contain nearly all private characters of Unicode: they are not text")
    stand_in = {character: chr(code) for character, code in zip(first, free, strict=False)}
    shielded = [
        "".join(stand_in[c] if at in found else c for at, c in enumerate(content))
        for content, found in zip(contents, places, strict=True)
    ]
    return shielded, {ord(other): character for character, other in stand_in.items()}


def _encode(tokenizer: Any, text: str, stands_for: Mapping[int, str]) -> list[int]:
    """The ids of a rendered text, in which the special tokens are the template's."""
    if not stands_for:
        return tokenizer.encode(text, allow_special=True)
    ids: list[int] = []
    for part in tokenizer.split_special(text):
        ids += [part] if isinstance(part, int) else tokenizer.encode(part.translate(stands_for))
    return ids


@lru_cache(maxsize=16)
def _compiled(template: str) -> Any:
    """The template, compiled as transformers does it: in a sandbox, in which it can neither open files nor import."""
    jinja2 = needed("jinja2", "chat", "the chat template of this model")
    if tuple(map(int, regex.findall(r"\d+", jinja2.__version__)[:3])) < OLDEST_JINJA:
        raise ModuleNotFoundError(
            f'chat templates need jinja2 3.1.6, not {jinja2.__version__}: pip install -e ".[chat]"'
        )
    sandbox = needed("jinja2.sandbox", "chat", "the chat template of this model")

    class Generation(needed("jinja2.ext", "chat", "the chat template of this model").Extension):  # type: ignore[misc]
        """{% generation %} … {% endgeneration %}, which some templates put around answers, changes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    return environment.from_string(template)
