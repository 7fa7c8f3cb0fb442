"""What all customer-service conversations share: small talk, and questions for missing slots."""

from numpylm.corpora.service_words import GLAD, PLAIN, SORRY

TABLES = {"weekdays": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")}

# ----------------------------------------------------------------------------------------- the customer
HELLO = "[Hi|Hello|Hi there|Hello there|Good morning|Good afternoon|Good evening|Hey]"
OPENINGS = (
    "",
    "",
    "",
    f"{HELLO}[.|!] ",
    f"{HELLO}. I need some help. ",
    f"{HELLO}[.|!] [My name is|This is] {{name}}. ",
)
TRANSITIONS = ("", "Thanks. ", "Thank you. ", "Great, thanks. ", "OK, thank you. ", "I have one more question. ")
TRANSITIONS_AFTER_QUESTION = ("Yes, please. ", "Yes, one more thing. ", "Yes, there is something else. ")  # "... else?"
FOLLOWING = ("", "", "OK. ", "Great. ", "Thanks. ", "That's good. ", "Good to know. ")
ALL_OPENINGS = OPENINGS + TRANSITIONS + TRANSITIONS_AFTER_QUESTION + FOLLOWING
ENDINGS = ("", "", "", "", " Thanks.", " Thank you.")

SMALL_TALK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # kind: what customers say, answers
    "greeting": (
        (
            "[Hi|Hello|Hey|Hi there|Hello there]!",
            "Good [morning|afternoon|evening].",
            "[Hi|Hello], I need some help[|, please].",
            "[Hi|Hello], I have a question.",
            "[Hi|Hello], can you help me?",
            "Hello, is anybody there?",
        ),
        (
            "[Hello|Hi|Hi there]! [How can I help you|What can I do for you][| today]?",
            "[Hello|Hi|Welcome]! How may I help you?",
            "[Hello|Hi], and welcome! What can I help you with?",
        ),
    ),
    "thanks": (
        (
            "[Thanks|Thank you][| so much| very much]!",
            "[Great|Perfect|Wonderful|Good], [thank you|thanks].",
            "Thanks[| a lot] for [your help|the quick answer].",
            "That helps[| a lot]. [Thanks.|Thank you.]",
            "That was [quick|easy]. [Thanks!|Thank you!]",
            "I appreciate [it|your help].",
        ),
        ("[You're welcome|My pleasure|Glad I could help|Happy to help][.|!][| Is there anything else you need?]",),
    ),
    "good-bye": (
        (
            "[That's all|That's everything][|, thanks|, thank you][.|. Bye!|. Goodbye!]",
            "[Thanks|Thank you][| for your help], [bye|goodbye][.|!]",
            "[Great|Perfect], [that's all I need|that's all I needed].[| Have a nice day!]",
            "[Bye|Goodbye][.|!]",
            "[Thanks|Thank you]. Have a [nice|good|great] [day|weekend]!",
            "I'm all set[|, thanks|, thank you][.|. Bye!]",
        ),
        (
            "[You're welcome|Thank you for contacting us|Thanks for chatting with us]. "
            "[Have a [great|nice|wonderful] day|Enjoy the rest of your day]!",
            "[You're welcome|Happy to help]. [Goodbye|Bye|Take care]!",
            "[Goodbye|Bye|Take care], and [thank you for contacting us|have a great day][.|!]",
        ),
    ),
}
NO_GOODBYES = (  # if the last answer ended with a question
    "No, that's all[|, thanks|, thank you][.|. Bye!]",
    "No, [thanks|thank you][.|. Bye!|. That's all.]",
    "No, I'm all set[.|. Thanks!]",
)

# ---------------------------------------------------------------------------------- beginnings and ends of answers
LEADS = {
    GLAD: "[|Sure. |Happy to help. |I can help with that. ]",
    SORRY: "[|I'm sorry about that. |I'm sorry to hear that. |Sorry for the trouble. ]",
    PLAIN: "",
    "thanks": "[|Thank you. |Thanks. |Got it. ]",  # after the customer told what was missing
}
ANYTHING_ELSE = "[|| Is there anything else I can help you with?| Can I help you with anything else?]"

# --------------------------------------------------------------------------------- what is missing: slot -> sentences
ASKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {  # kind, questions, what customers answer
    "order": (
        "ask order number",
        ("What is [your|the] order number?", "[Could|Can] you [give|tell] me [your|the] order number?"),
        (
            "[It's|Sure, it's|The number is|My order number is|The order number is|It should be] {order}.",
            "[Order|Order number|Number] {order}.",
            "Let me see. It's {order}.",
        ),
    ),
    "card": (
        "ask card number",
        (
            "What are the last four digits of [your|the] card?",
            "[Could|Can] you [give|tell] me the last four digits of [your|the] card?",
        ),
        (
            "[They are|It ends in|The card ends in|My card ends in|The last four are|The last four digits are] {card}.",
            "It's the one ending in {card}.",
        ),
    ),
    "amount": (
        "ask amount",
        ("[What was|Could you tell me] the exact amount?", "How much [was it|was it exactly]?"),
        ("[It was|It's|The amount was|It was exactly|The amount is|That was] {amount}.", "I think it was {amount}."),
    ),
    "limit": (
        "ask new limit",
        ("What [limit would you like|would you like the new limit to be]?", "How high should the [new |]limit be?"),
        (
            "[Please set it to|Please make it|I'd like|I need] {limit}.",
            "[A limit of|I think] {limit} would be [good|great|fine].",
        ),
    ),
    "gift": (
        "ask gift amount",
        ("How much should [it|the gift card] be worth?", "What amount would you like [on it|on the card]?"),
        ("[Let's say|Please make it|I'd like|It should be|I was thinking of|How about] {gift}.", "For {gift}, please."),
    ),
    "date": (
        "ask date",
        ("[What|On what] date was that?", "[Could|Can] you tell me the date[|, please]?", "What day did that happen?"),
        ("[It was|That was|It was on|It happened on|The date was] {date}.", "On {date}.", "I think it was {date}."),
    ),
    "day": (
        "ask day",
        ("[What|Which] day [would that be|should I put down]?", "For which day?"),
        (
            "[On|It should be|Let's say|It would be|That would be|Please put down] {day}.",
            "[On|Maybe on] {day}, [please|if that's possible].",
        ),
    ),
    "name": (
        "ask name",
        ("[May|Could] I have your [full |]name[|, please]?", "What [is your full name|name should I use]?"),
        ("[My name is|It's|I'm|The name is|Sure, it's|The full name is] {name}.", "Sure. I'm {name}."),
    ),
    "phone": (
        "ask phone number",
        ("What [is the number|number should we use]?", "[May|Could] I have the [phone |]number[|, please]?"),
        ("[It's|My number is|The number is|Sure, it's|Please use|The new number is] {phone}.",),
    ),
    "street": (
        "ask address",
        ("What is the [new|right] address?", "Where should we send it[| instead]?"),
        (
            "[It's|The new address is|The right address is|Please send it to|It should go to|Please use] {street}.",
            "To {street}[, please|, thanks].",
        ),
    ),
    "city": (
        "ask store",
        ("Which [of our stores|store] do you mean?", "[Which city|What city] are you asking about?"),
        ("[The one in|The store in|I mean the one in|It's the one in] {city}.", "[I'm in|I live in] {city}."),
    ),
    "place": (
        "ask destination",
        ("Where should [we ship it|it be shipped]?", "[Which|What] city would it go to?"),
        ("[To|It would go to|I live in|I'm in|It's going to|Please ship it to] {place}.", "To {place}, please."),
    ),
    "trip": (
        "ask travel city",
        ("Where [are you going|will you be traveling|are you traveling to]?",),
        ("[I'm going to|We're going to|To|I'll be in|I'm flying to|It's a trip to] {trip}.",),
    ),
    "product": (
        "ask item",
        ("[Which|What] item is it[| about]?", "[Which|What] item do you mean?"),
        (
            "[It's|It's about|I mean|It's just|I'm talking about] the {product}.",
            "The {product}[|, please].",
        ),
    ),
    "code": (
        "ask code",
        ("What [is the code|code did you enter]?", "[Could|Can] you tell me the code[| you entered]?"),
        ("[It's|The code is|My code is|I entered|I typed in|Sure, it's] {code}.",),
    ),
}
FINDS: dict[
    str, tuple[str, tuple[str, ...], tuple[str, ...]]
] = {  # customers who do not know: kind, questions, answers
    "order": (
        "find order number",
        (
            "[Where|How] can I find [it|the order number|that]?",
            "I [don't have|can't find] [it|the order number|my order number]. Where is it?",
            "I don't know [it|the order number]. Where do I find that?",
        ),
        (
            "It's at the top of your confirmation email[|, and it has six digits].",
            "You can find it in your confirmation email or in your account, under My Orders.",
            "Please look at your confirmation email. The order number has six digits.",
        ),
    ),
    "card": (
        "find card number",
        (
            "I don't [have|know] the [number|card number]. Where can I find it?",
            "Where do I find [that|them|the card number]?",
            "How do I find [that|the digits|the last four digits]?",
        ),
        (
            "You can find [them|the last four digits] on your statement or in our app.",
            "The last four digits are on your monthly statement[|, at the top].",
            "Please look in our app, under Cards. It shows the last four digits[| of each card].",
        ),
    ),
}
