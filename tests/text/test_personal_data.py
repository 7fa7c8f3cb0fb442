"""Personal data is masked in the forms in which people write it, and other numbers stay as they are."""

import pytest

from numpylm.text.cleaning import ALL, clean, step_names
from numpylm.text.personal_data import is_card_number, is_iban, mask_personal_data

MASKED = [
    ("write to jo.smith+news@mail.example.co.uk.", "write to <EMAIL>."),
    ("<Ann_O-Neil@Example.org>, b@c.io;", "<<EMAIL>>, <EMAIL>;"),
    ("mailto:müller@büro.example", "mailto:<EMAIL>"),
    ("card 4111 1111 1111 1111, thanks", "card <CARD>, thanks"),
    ("5555-5555-5555-4444", "<CARD>"),
    ("amex 378282246310005.", "amex <CARD>."),
    ("4111 1111 1111 1111 12/27", "<CARD> 12/27"),
    ("4222222222222 is a card of 13 digits", "<CARD> is a card of 13 digits"),
    ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <IBAN>"),
    ("GB82WEST12345698765432", "<IBAN>"),
    ("BE68 5390 0754 7034 EUR", "<IBAN> EUR"),
    ("call +1 555 010 9999 now", "call <PHONE> now"),
    ("+49 (0)30 901820", "<PHONE>"),
    ("+4915112345678!", "<PHONE>!"),
    ("0044 20 7946 0958", "<PHONE>"),
    ("(555) 234-5678", "<PHONE>"),
    ("1-800-555-0199", "<PHONE>"),
    ("555.234.5678.", "<PHONE>."),
    ("London 020 7946 0958.", "London <PHONE>."),
    ("Berlin 030/901820-12", "Berlin <PHONE>"),
    ("Paris 01 40 20 50 50, Lyon 04.72.00.00.00", "Paris <PHONE>, Lyon <PHONE>"),
    ("mobile in China: 138 0013 8000", "mobile in China: <PHONE>"),
    ("13800138000", "<PHONE>"),
    ("手机号码是13800138000", "手机号码是<PHONE>"),
    ("text me at 5550109999", "text me at <PHONE>"),
    ("Tel.: 901 82 01", "Tel.: <PHONE>"),
    ("+86 138 0013 8000 / +33 1 40 20 50 50", "<PHONE> / <PHONE>"),
]
UNCHANGED = [
    "an @mention, a@b, user@localhost, x @ y.com",
    "4111 1111 1111 1112 fails Luhn's check",
    "0000 0000 0000 0000",
    "pi is 3.14159265358979323846",
    "GB82 WEST 1234 5698 7654 33 has a wrong check digit",
    "on 2026-11-28, at 12:30:45, or 28.11.2026, or 11/28/2026",
    "from 1914-1918 to 1939-1945",
    "192.168.100.200 and 10.0.0.1:8080",
    "ISBN 978-3-16-148410-0",
    "version 1.10.2, build 20261128",
    "$13800138000, € 13800138000, 12,345,678 people, 0.123456789",
    "order #961462, article 4006381333931",
    "there are 7594321234 of them",
    "1234567890123456",
    "https://example.com/0301234567",
    "add 0 123 to 45",
    "call 112 or 911",
    "100 200 300 400",
]


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_personal_data_is_masked_in_many_forms(text, expected):
    found, counts = mask_personal_data(text)
    assert found == expected
    assert counts.total() == sum(expected.count(f"<{kind}>") for kind in ("EMAIL", "IBAN", "CARD", "PHONE"))


@pytest.mark.parametrize("text", UNCHANGED)
def test_other_numbers_and_signs_stay(text):
    assert mask_personal_data(text) == (text, {})


def test_luhn_finds_every_single_wrong_digit():
    """Doubling the wrong half of the digits, or forgetting to subtract 9, accepts some of these."""
    right = "4539148803436467"
    assert is_card_number(right)
    for place in range(1, 16):
        for digit in set("0123456789") - {right[place]}:
            assert not is_card_number(right[:place] + digit + right[place + 1 :])


def test_the_published_example_of_an_iban_passes_and_no_swap_does():
    right = "GB82WEST12345698765432"
    assert is_iban(right)
    for i in range(8, len(right) - 1):
        if right[i] != right[i + 1]:
            assert not is_iban(right[:i] + right[i + 1] + right[i] + right[i + 2 :])


def test_the_cleaning_step_reports_how_many_of_each_kind():
    documents, report = clean(["a@b.com or c@d.org", "+1 555 010 9999", "4111111111111111"], ["personal"])
    assert documents == ["<EMAIL> or <EMAIL>", "<PHONE>", "<CARD>"]
    assert str(report[0]) == "personal: 4 numbers and addresses masked (2 e-mail, 0 IBAN, 1 card, 1 phone)"


def test_all_is_what_it_was_before_there_was_personal():
    """A run with --clean all can still be resumed; personal data is masked only if it is asked for."""
    assert step_names(["all"]) == ["unicode", "control", "whitespace", "repeated_lines", "repeated_documents"]
    assert step_names(["all", "personal"]) == [*ALL, "personal"]


def test_masking_takes_linear_time_on_long_runs_of_one_kind():
    for text in ("1" * 20_000, "a." * 10_000 + "@", "1 " * 10_000, "+1" * 10_000, "AB12 " * 4_000, "(0" * 10_000):
        assert mask_personal_data(text)[0] == text
