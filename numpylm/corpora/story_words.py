"""The vocabulary of the stories: characters, objects, weather, wishes, and what can happen with each."""

from dataclasses import dataclass

TRAITS = ("little", "shy", "curious", "cheerful", "brave", "sleepy", "clever", "kind", "hungry", "quiet")


@dataclass(frozen=True)
class Character:
    """A character of the stories. It is always the same animal and lives in the same place."""

    name: str
    kind: str
    home: str
    she: str = "she"

    @property
    def She(self) -> str:
        return self.she.capitalize()

    @property
    def her(self) -> str:
        """Possessive."""
        return "her" if self.she == "she" else "his"

    @property
    def them(self) -> str:
        """Object."""
        return "her" if self.she == "she" else "him"


CAST = (
    Character("Rosie", "rabbit", "in a cosy burrow"),
    Character("Luna", "cat", "behind a garden wall"),
    Character("Nell", "mole", "under the meadow"),
    Character("Poppy", "squirrel", "in a hollow oak"),
    Character("Ivy", "hedgehog", "under a crooked pine"),
    Character("Tess", "mouse", "by the old mill"),
    Character("Otto", "otter", "beside a blue lake", "he"),
    Character("Finn", "fox", "at the edge of the forest", "he"),
    Character("Hugo", "bear", "in a cave on the hill", "he"),
    Character("Leo", "badger", "between two tall rocks", "he"),
    Character("Toby", "beaver", "near the stone bridge", "he"),
    Character("Pip", "hare", "on top of a windy dune", "he"),
)
COLOURS = ("red", "blue", "yellow", "green", "silver", "golden", "purple", "white")
SPOTS = (
    "under the ferns",
    "behind the woodpile",
    "in the long grass",
    "between the roots",
    "beside the well",
    "beneath the bridge",
    "inside a hollow log",
    "on top of the haystack",
)
MONSTERS = ("a dragon", "a ghost", "a giant", "a wolf", "a robber", "a witch")


@dataclass(frozen=True)
class Treasure:
    """An object to lose, and what the friends do with it once it is found."""

    name: str
    joy: str


TREASURES = (
    Treasure("kite", "flew it high above the trees"),
    Treasure("drum", "marched up and down and drummed"),
    Treasure("lantern", "told stories by its light"),
    Treasure("boat", "let it sail on the pond"),
    Treasure("ball", "threw it back and forth"),
    Treasure("flute", "played every song they knew"),
    Treasure("scarf", "sat close together under it"),
    Treasure("wagon", "pulled each other up and down the lane"),
    Treasure("bell", "rang it at every door"),
    Treasure("crown", "played king and queen"),
)


@dataclass(frozen=True)
class Weather:
    """A kind of weather, and how a treasure gets lost in it."""

    name: str
    losses: tuple[str, ...]


WEATHERS = (
    Weather(
        "windy",
        (
            "A gust of wind tore it from {her} paws and carried it away.",
            "Suddenly the wind blew so hard that {name} had to let go.",
        ),
    ),
    Weather(
        "rainy",
        (
            "The ground was slippery, {she} fell, and the {thing} rolled away into the rain.",
            "{name} ran to find a dry place, and dropped it on the way.",
        ),
    ),
    Weather(
        "snowy",
        (
            "{name} tripped, and the {thing} sank into the deep snow.",
            "The flakes fell so thickly that soon {she} could not see {her} own paws.",
        ),
    ),
    Weather(
        "sunny",
        (
            "It was so warm that {she} fell asleep, and woke up with empty paws.",
            "{She} put it down for a moment to pick flowers.",
        ),
    ),
    Weather(
        "foggy",
        (
            "{name} put it down to tie a shoe and could not find it again in the fog.",
            "The mist was as thick as milk, and somewhere the {thing} slipped from {her} bag.",
        ),
    ),
)


@dataclass(frozen=True)
class Wish:
    """A skill to learn: how the first attempts fail, the trick, and how it succeeds."""

    to_do: str
    failures: tuple[str, ...]
    advice: tuple[str, ...]
    success: str


WISHES = (
    Wish(
        "swim across the lake",
        (
            "The water was so cold that {she} jumped right out again.",
            "After three strokes {she} was back on the shore, coughing.",
        ),
        ("Breathe slowly and kick with both legs", "The water carries you if you let it"),
        "{name} swam all the way to the other side.",
    ),
    Wish(
        "climb the tallest tree",
        (
            "Halfway up, {her} knees began to shake.",
            "The first branch broke, and {she} landed in a bush.",
        ),
        ("Never look down, only at the next branch", "Hold on with three paws and move the fourth"),
        "{name} sat at the very top and could see the sea.",
    ),
    Wish(
        "play the fiddle",
        (
            "It squeaked like a rusty gate.",
            "The neighbours shut their windows, and the milk turned sour.",
        ),
        ("Play one note until it is your friend", "Listen first and play later"),
        "{name} played a tune so sweet that even the crows kept quiet.",
    ),
    Wish(
        "skate on the frozen pond",
        (
            "{She} went three steps and sat down hard on {her} tail.",
            "One leg went left, one leg went right, and {name} went down.",
        ),
        ("Bend your knees and lean forward", "Push to the side and not to the back"),
        "{name} glided over the ice like a leaf in the wind.",
    ),
    Wish(
        "read the big book of tales",
        (
            "The letters danced before {her} eyes.",
            "{She} held it upside down and did not even notice.",
        ),
        ("Begin with the shortest word", "Read with your paw under the line"),
        "{name} read a whole story aloud, from the first word to the last.",
    ),
    Wish(
        "paint the sunset",
        (
            "It came out like brown soup.",
            "There was more paint on {her} ears than on the paper.",
        ),
        ("Let one colour dry before you take the next", "Look twice and paint once"),
        "{name} painted a sky so bright that the bees came to look.",
    ),
    Wish(
        "jump over the stream",
        (
            "{She} landed right in the middle with a splash.",
            "At the last moment {she} shut {her} eyes and stopped.",
        ),
        ("Run first and jump from the flat stone", "Look at the other side and not at the water"),
        "{name} flew through the air and landed on dry moss.",
    ),
    Wish(
        "whistle like a blackbird",
        (
            "Nothing came out but air and a few crumbs.",
            "It sounded like an old kettle.",
        ),
        ("Make your lips as round as a cherry", "Think of spring and blow softly"),
        "{name} whistled, and a real blackbird answered.",
    ),
)


@dataclass(frozen=True)
class Trouble:
    """What happened to a stranger, and how to help."""

    what: str
    rescue: str


@dataclass(frozen=True)
class Stranger:
    """A small animal that needs help, and helps in return later."""

    name: str
    troubles: tuple[Trouble, ...]
    deeds: tuple[str, ...]


STRANGERS = (
    Stranger(
        "bee",
        (
            Trouble("with wet wings", "carried it to a warm stone and blew its wings dry"),
            Trouble("caught in a web", "cut the threads, one by one, and set it free"),
        ),
        (
            "It called its sisters, and they hummed before {them}",
            "It buzzed from flower to flower ahead of {them}",
        ),
    ),
    Stranger(
        "snail",
        (
            Trouble("stuck in the mud", "pulled it out and wiped its shell clean"),
            Trouble("on the wrong side of the road", "picked it up and carried it across"),
        ),
        ("Its silver trail shone in the moonlight", "It knew every stone and crept ahead of {them}"),
    ),
    Stranger(
        "robin",
        (
            Trouble("that had fallen from its nest", "climbed up and put it back, soft and safe"),
            Trouble("with a thorn in its wing", "drew the thorn out very gently"),
        ),
        ("It flew from branch to branch ahead of {them}", "It sang from the treetops to show the way"),
    ),
    Stranger(
        "beetle",
        (
            Trouble("lying on its back", "turned it over with a blade of grass"),
            Trouble("trapped under a heavy stone", "pushed with both paws until the stone rolled away"),
        ),
        ("It lit a lamp no bigger than a pea", "It waved all its six legs and marched ahead"),
    ),
    Stranger(
        "frog",
        (
            Trouble("far away from any water", "wrapped it in a wet leaf and took it to the pond"),
            Trouble("that had fallen into a bucket", "tipped the bucket over so that it could hop out"),
        ),
        ("It croaked from puddle to puddle", "It hopped ahead, splash, splash, splash"),
    ),
)


@dataclass(frozen=True)
class Dish:
    """A dish to make, the ingredients that may be missing, and what happens next."""

    name: str
    needs: tuple[str, ...]
    steps: tuple[str, ...]


DISHES = (
    Dish(
        "an apple pie",
        ("flour", "cinnamon", "butter"),
        ("the pie went into the oven.", "{name} rolled the dough, and {friend} peeled the apples."),
    ),
    Dish(
        "a honey cake",
        ("honey", "flour", "milk"),
        ("the cake rose and rose, as high as a hat.", "{name} stirred, and {friend} counted the spoons."),
    ),
    Dish(
        "pumpkin soup",
        ("salt", "cream", "pepper"),
        ("the soup bubbled in the big pot.", "{name} cut the pumpkin, and {friend} stirred and stirred."),
    ),
    Dish(
        "plum jam",
        ("sugar", "cinnamon", "lemon"),
        ("twelve jars stood in a row.", "{name} stoned the plums, and {friend} wrote the labels."),
    ),
    Dish(
        "nut bread",
        ("yeast", "salt", "flour"),
        (
            "the loaf came out of the oven, round and brown.",
            "{name} cracked the nuts, and {friend} kneaded the dough.",
        ),
    ),
    Dish(
        "pancakes",
        ("milk", "butter", "sugar"),
        (
            "the first pancake flew up and stuck to the ceiling.",
            "{name} threw them up, and {friend} caught them.",
        ),
    ),
)


@dataclass(frozen=True)
class Cause:
    """The real cause of a noise, and what happens next."""

    what: str
    then: str


@dataclass(frozen=True)
class Noise:
    """A sound in the night, where it comes from, and its possible causes."""

    sound: str
    where: str
    causes: tuple[Cause, ...]


NOISES = (
    Noise(
        "Tap, tap, tap.",
        "to the window",
        (
            Cause("A branch, knocking at the glass!", "{name} tied it back with a ribbon."),
            Cause("A moth that wanted to come to the light!", "{name} opened the window and let it in."),
        ),
    ),
    Noise(
        "Bump, bump, bump.",
        "down to the cellar",
        (
            Cause("An apple, rolling down the stairs!", "{friend} ate it on the spot."),
            Cause("A toad with a bucket on its head!", "{name} took the bucket off, and it bowed politely."),
        ),
    ),
    Noise(
        "Whooo, whooo.",
        "up to the attic",
        (
            Cause("The wind in an empty bottle!", "{friend} put a cork in it."),
            Cause("An owl, singing its children to sleep!", "They listened to the end and clapped softly."),
        ),
    ),
    Noise(
        "Scratch, scratch.",
        "to the kitchen",
        (
            Cause("A tiny ant, dragging a crumb!", "{name} gave it a whole slice of bread."),
            Cause("Two cousins, looking for cheese!", "{name} set the table for four."),
        ),
    ),
    Noise(
        "Drip, drop, drip.",
        "to the back door",
        (
            Cause("A watering can with a hole!", "{friend} mended it with chewing gum."),
            Cause("A duck, wringing out its hat!", "{name} made it a cup of hot tea."),
        ),
    ),
)
