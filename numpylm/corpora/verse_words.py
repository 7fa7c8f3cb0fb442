"""The vocabulary of the verses: for each theme, who does what and how; and the ends of lines, by their rhymes"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """What verses on one theme are made of. Every kind of being can do everything that the theme allows."""

    name: str
    kinds: tuple[str, ...]  # adjectives
    beings: tuple[str, ...]  # plural nouns
    deeds: tuple[str, ...]  # intransitive verbs in the plural


THEMES = (
    Theme(
        "spring",
        ("early", "tender", "fresh", "rosy", "budding", "dewy"),
        ("tulips", "lambs", "seedlings", "blossoms", "sparrows", "meadows"),
        ("awake", "begin again", "grow strong", "turn green", "rejoice", "stretch"),
    ),
    Theme(
        "summer",
        ("warm", "drowsy", "ripe", "sunny", "barefoot", "lazy"),
        ("cherries", "swallows", "beetles", "gardens", "children", "sunflowers"),
        ("bask", "hum", "ripen", "doze", "glisten", "play"),
    ),
    Theme(
        "autumn",
        ("brown", "golden", "withered", "crisp", "ragged", "amber"),
        ("leaves", "acorns", "orchards", "chestnuts", "cranes", "haystacks"),
        ("fall", "turn to rust", "scatter", "depart", "fade", "rustle"),
    ),
    Theme(
        "winter",
        ("frozen", "bare", "icy", "bitter", "snowy", "hungry"),
        ("branches", "foxes", "rooftops", "sleighs", "icicles", "ravens"),
        ("shiver", "crack", "lie still", "wait", "grow numb", "huddle"),
    ),
    Theme(
        "the sea",
        ("salty", "rolling", "stormy", "foaming", "deep", "restless"),
        ("waves", "sailors", "gulls", "tides", "whales", "schooners"),
        ("rise", "roar", "drift", "set out", "break", "toss"),
    ),
    Theme(
        "the night",
        ("dark", "silent", "starry", "velvet", "moonlit", "secret"),
        ("owls", "shadows", "planets", "dreams", "lanterns", "moths"),
        ("flicker", "hover", "whisper", "gather", "keep watch", "wander"),
    ),
    Theme(
        "friendship",
        ("loyal", "trusted", "dear", "honest", "cheerful", "patient"),
        ("friends", "neighbors", "companions", "brothers", "sisters", "classmates"),
        ("laugh", "share", "remember", "forgive", "listen", "meet"),
    ),
    Theme(
        "love",
        ("burning", "blushing", "gentle", "longing", "faithful", "foolish"),
        ("hearts", "lovers", "kisses", "letters", "roses", "promises"),
        ("tremble", "sigh", "linger", "hope", "confess", "embrace"),
    ),
    Theme(
        "war",
        ("iron", "bloody", "weary", "wounded", "marching", "broken"),
        ("soldiers", "banners", "cannons", "widows", "horses", "regiments"),
        ("charge", "bleed", "perish", "retreat", "burn", "advance"),
    ),
    Theme(
        "home",
        ("cozy", "familiar", "little", "humble", "tidy", "welcoming"),
        ("kettles", "candles", "windows", "grandmothers", "kittens", "kitchens"),
        ("glow", "sing", "beckon", "purr", "comfort", "smile"),
    ),
    Theme(
        "travel",
        ("distant", "dusty", "foreign", "endless", "unknown", "winding"),
        ("roads", "trains", "pilgrims", "caravans", "harbors", "strangers"),
        ("call", "hurry", "roam", "pass", "cross over", "lead on"),
    ),
    Theme(
        "the mountains",
        ("lofty", "stony", "misty", "steep", "rugged", "ancient"),
        ("peaks", "eagles", "glaciers", "shepherds", "cliffs", "pines"),
        ("tower", "echo", "climb", "stand firm", "soar", "endure"),
    ),
)

RHYMES = (  # the ends of one row rhyme with each other, and with no end of another row
    ("at break of day", "along the way", "in morning gray", "too far away", "as poets say", "while others pray"),
    ("in silver light", "with all their might", "far out of sight", "in sheer delight", "so calm and bright"),
    ("so soft and slow", "when breezes blow", "where waters flow", "row after row", "as all may know"),
    ("from year to year", "without a fear", "so very near", "for all to hear", "with half a tear"),
    ("beyond the hill", "against their will", "so small and still", "without much skill", "in sudden chill"),
    ("upon the ground", "without a sound", "till peace is found", "the whole year round", "and gather round"),
    ("in gentle rain", "again, again", "across the plain", "in joy and pain", "along the lane"),
    ("beneath the trees", "upon the breeze", "with so much ease", "however they please", "like honeybees"),
    ("until the end", "around the bend", "as some pretend", "as days descend", "too hurt to mend"),
    ("in bygone times", "to distant chimes", "in many climes", "like quiet rhymes", "despite their crimes"),
)
MUSINGS = (
    "I often think",
    "My mother said",
    "The old men tell",
    "I dreamt last night",
    "They say in town",
    "I know for sure",
)
LINKS = ("that", "how", "why")
BRIDGES = ("And", "While", "For", "But")
