"""Customer-support answers for Bitext's utterances: the answers are ours, one for each intent, with the slots copied.

    python benchmarks/chat_bitext.py write ../shared/data/bitext_intents bitext   # three files
    numpylm train --task chat --data bitext/train.jsonl ...                       # see docs/results.md
    python benchmarks/chat_bitext.py judge runs/train bitext/tune.jsonl           # while settings are chosen
    python benchmarks/chat_bitext.py judge runs/train bitext/dev.jsonl            # the figures that are reported

Bitext's files have only five order numbers, four amounts, ... in training and dev alike. So each utterance gets a value
of its own, and those of dev and tune never occur in training: digits and words are drawn again. (Kinds of accounts and
countries are too few for that, and keep theirs.) tune.jsonl holds one training utterance in ten, chosen by a hash.
"""

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numpylm import load_model
from numpylm.corpora import service_slots
from numpylm.tasks.chat import split_conversations
from numpylm.tasks.chat_answers import Answer, turns_of, write_answers
from numpylm.tasks.chat_figures import by_retrieval, contains, general_figures, table
from numpylm.text.conversation import read_conversations
from numpylm.training.parallel import DataParallel
from numpylm.training.run_state import resume_config

LONGEST = 60  # tokens of an answer
# The answer without a slot, and the answer with one.
ANSWERS = {
    "cancel_order": (
        "To cancel an order, open My Orders, choose it, and press Cancel.",
        "I have canceled order {}. You will get an email within the hour.",
    ),
    "change_order": (
        "You can change an order under My Orders until it is packed.",
        "Order {} is open for changes now. You will find it under My Orders.",
    ),
    "change_shipping_address": ("You can change your address in your profile, under Addresses.", ""),
    "check_cancellation_fee": (
        "There is no fee in the first 14 days. After that, you pay 10 percent of the price.",
        "",
    ),
    "check_invoice": (
        "All your invoices are in your profile, under Invoices.",
        "The invoice {} is in your profile, under Invoices.",
    ),
    "check_payment_methods": ("We take credit cards, debit cards, bank transfers and PayPal.", ""),
    "check_refund_policy": ("You get your money back if you return an item within 30 days.", ""),
    "complaint": ("I am sorry to hear that. Please describe the problem on our complaints page.", ""),
    "contact_customer_service": ("You can call customer service from 8 a.m. to 8 p.m., Monday to Saturday.", ""),
    "contact_human_agent": ("One moment, please. I will connect you with a colleague.", ""),
    "create_account": (
        "To open an account, press Sign Up and follow the steps.",
        "To open a {} account, press Sign Up and choose {}.",
    ),
    "delete_account": (
        "You can close your account in your settings, under Privacy.",
        "You can close your {} account in your settings, under Privacy.",
    ),
    "delivery_options": (
        "We offer standard delivery, express delivery and pickup.",
        "Yes, we deliver to {}. You can choose standard or express delivery.",
    ),
    "delivery_period": ("Standard delivery takes three to five days, and express delivery one.", ""),
    "edit_account": (
        "You can edit your data in your settings, under Account.",
        "You can edit the data of your {} account in your settings, under Account.",
    ),
    "get_invoice": (
        "I have sent all your invoices to your inbox.",
        "I have sent the invoice {} to your inbox.",
    ),
    "get_refund": (
        "To get a refund, open My Orders, choose the item, and press Refund.",
        "I have asked for your refund of ${}. It takes about five days.",
    ),
    "newsletter_subscription": ("You can begin or end the newsletter in your settings, under Email.", ""),
    "payment_issue": ("I am sorry about the trouble. Please try again, or use another card.", ""),
    "place_order": ("Put what you want into the cart, and press Check Out.", ""),
    "recover_password": ("Press Forgot Password, and we will email you a link.", ""),
    "registration_problems": ("I am sorry that you could not sign up. Please try another browser.", ""),
    "review": ("Thank you for your interest. You can leave a review under each product.", ""),
    "set_up_shipping_address": ("You can add an address in your profile, under New Address.", ""),
    "switch_account": (
        "You can switch your account in your settings, under Plan.",
        "To switch to the {} account, open your settings and choose {} under Plan.",
    ),
    "track_order": (
        "You can follow each order under My Orders.",
        "Order {} is on its way. It should arrive within two days.",
    ),
    "track_refund": (
        "Refunds take about five days. You can follow yours under My Orders.",
        "Your refund of ${} is on its way. It should arrive within five days.",
    ),
}


def write(source: str, target: str) -> None:
    """Make the conversations."""
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    train = list(_rows(Path(source) / "train.csv"))
    held = [hashlib.sha1(row["utterance"].lower().encode()).digest()[0] % 10 == 0 for row in train]
    parts = {
        "train": [row for row, out in zip(train, held, strict=True) if not out],
        "tune": [row for row, out in zip(train, held, strict=True) if out],
        "dev": list(_rows(Path(source) / "dev.csv")),
    }
    for seed, (name, rows) in enumerate(parts.items()):
        rng = np.random.default_rng([seed, 2028])
        talks = [_talk(row, rng, held_out=name != "train") for row in rows]
        text = "".join(json.dumps(talk, ensure_ascii=False) + "\n" for talk in talks)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        slots = sum(bool(talk["value"]) for talk in talks)
        print(f"{folder / name}.jsonl: {len(talks):,} conversations, {slots:,} with a slot")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _talk(row: dict[str, str], rng: np.random.Generator, held_out: bool) -> dict[str, Any]:
    """An utterance with a value of its own, and our answer. The reader of conversations ignores intent and value."""
    text, value = row["utterance"], row["entity_value"]
    if value:
        start, stop = int(row["start_offset"]), int(row["end_offset"])
        value = _new(row["entity_type"], text[start:stop], rng, held_out)
        text = text[:start] + value + text[stop:]
    plain, filled = ANSWERS[row["intent"]]
    answer = filled.replace("{}", _said(row["entity_type"], value)) if value else plain
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "intent": row["intent"], "value": value}


def _new(kind: str, value: str, rng: np.random.Generator, held_out: bool) -> str:
    """Another value of this kind."""
    if kind in ("order_id", "invoice_id", "refund_amount"):
        digits = len(value.removeprefix("#"))
        while True:
            number = "".join(map(str, rng.integers(0, 10, digits)))
            if kind == "refund_amount":
                number = str(rng.integers(1, 10)) + number[1:]
            if service_slots.is_held_out(int(number)) == held_out:
                return "#" * value.startswith("#") + number
    if kind == "person_name":
        name = service_slots.draw("name", rng, held_out)
        title = value.split()[0]
        return f"{title} {name.split()[1]}" if title.endswith(".") else name
    return service_slots.draw("city", rng, held_out) if kind == "delivery_city" else value


def _said(kind: str, value: str) -> str:
    """How the answer says a value: the invoice #123, the invoice of Ms. Ross."""
    return f"of {value}" if kind == "person_name" else value


def judge(run: str, path: str) -> None:
    """Print the figures of a run, and of retrieval from its training conversations."""
    talks = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    turns = turns_of(read_conversations([path]))
    histories = [history for history, _ in turns]
    model = load_model(run)
    training, _ = split_conversations(resume_config(run, {}))
    systems = {
        "model": write_answers(DataParallel(model), model.tokenizer, histories, LONGEST),
        "retrieval": by_retrieval(training, turns),
    }
    slots = sum(bool(talk["value"]) for talk in talks)
    print(f"answers to {len(turns)} utterances, of which {slots} have a slot")
    columns = {name: general_figures(turns, said) | _figures(talks, said) for name, said in systems.items()}
    print("\n".join(table(columns)))


def _figures(talks: list[dict[str, Any]], answers: list[Answer]) -> dict[str, float]:
    kinds = [_intent(answer.text) == talk["intent"] for talk, answer in zip(talks, answers, strict=True)]
    pairs = [(talk, answer.text) for talk, answer in zip(talks, answers, strict=True) if talk["value"]]
    copied = [contains(text.replace("$", ""), talk["value"]) for talk, text in pairs]
    return {"kind": sum(kinds) / len(kinds), "slots": sum(copied) / len(copied)}


def _intent(answer: str) -> str | None:
    """The intent whose answer this is, with any value in its slot."""
    for intent, ways in ANSWERS.items():
        for way in filter(None, ways):
            if re.fullmatch(".{1,40}".join(map(re.escape, way.split("{}"))), answer):
                return intent
    return None


if __name__ == "__main__":
    {"write": write, "judge": judge}[sys.argv[1]](*sys.argv[2:])
