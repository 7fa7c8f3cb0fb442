"""The bundled corpus: a generator of short children's stories, with five plots and some three hundred phrases.

A story is consistent: names, she or he, colors, the weather and its effects, who was asked and where things are do not
change. `numpylm.corpora.known_entropy` explains why the probability of each story is known exactly.
`numpylm.corpora.story_words` has the words that the plots use.
"""

from collections.abc import Callable

from numpylm.corpora import story_words as words
from numpylm.corpora.known_entropy import Teller
from numpylm.corpora.story_words import Character


def tell(t: Teller) -> None:
    """Tell one story: introduce a hero, choose a plot, and tell it."""
    hero = introduce(t)
    t.say(" ")
    plots: list[tuple[str, Callable[[Teller, Character], None]]] = [
        (f"{hero.name} had a ", lose_and_find),
        (f"On {hero.her} birthday {hero.name} was given a ", lose_and_find),
        (f"More than anything, {hero.name} wished to ", learn),
        (f"Every night {hero.she} dreamt of the same thing: to ", learn),
        ("One day, on the way to market, ", help_somebody),
        ("It had rained all night, and in the morning ", help_somebody),
        (f"When autumn came, {hero.name} wanted to make ", cook),
        (f"{hero.name} had promised to bring ", cook),
        ("One night there was a strange noise: ", hear_a_noise),
        (f"{hero.name} was almost asleep when it began: ", hear_a_noise),
    ]
    _, plot = t.choose(plots, lambda option: option[0])
    plot(t, hero)


# --------------------------------------------------------------------------------------------- people


def introduce(t: Teller) -> Character:
    """Say who the hero is and where the hero lives."""
    match t.pick("Once upon a time, a ", "There was once a ", "Far away, ", "This is the story of ", "Long ago, a "):
        case 0:
            hero = describe(t)
            t.say(f" called {hero.name} lived {hero.home}.")
        case 1:
            hero = describe(t)
            t.say(f" whose name was {hero.name}. {hero.She} lived {hero.home}.")
        case 2:
            hero = t.choose(words.CAST, lambda c: c.home)
            t.say(", lived a ")
            t.choose(words.TRAITS)
            t.say(f" {hero.kind} named {hero.name}.")
        case 3:
            hero = t.choose(words.CAST, lambda c: c.name)
            t.say(", a ")
            t.choose(words.TRAITS)
            t.say(f" {hero.kind} who lived {hero.home}.")
        case _:
            hero = describe(t)
            t.say(f" made a home {hero.home}. {hero.her.capitalize()} name was {hero.name}.")
    return hero


def describe(t: Teller) -> Character:
    """Say a phrase such as "little fox"; return the character."""
    t.choose(words.TRAITS)
    t.say(" ")
    return t.choose(words.CAST, lambda c: c.kind)


def friend_of(t: Teller, hero: Character) -> Character:
    """Say a phrase such as "Otto the otter" for any character except the hero; return the character."""
    friend = t.choose([c for c in words.CAST if c is not hero], lambda c: c.name)
    t.say(f" the {friend.kind}")
    return friend


# ---------------------------------------------------------------------------------------------- plots


def lose_and_find(t: Teller, hero: Character) -> None:
    """Plot: the hero loses a treasure, a friend has seen it, and they find it there."""
    h = hero
    colour = t.choose(words.COLOURS)
    t.say(" ")
    thing = t.choose(words.TREASURES, lambda treasure: treasure.name)
    t.pick(
        f". {h.She} took it everywhere, even to bed.\n",
        f", and {h.she} would not have swapped it for all the honey in the world.\n",
        f". At night it lay beside {h.her} pillow.\n",
        f". Nobody else had one like it, and {h.name} was very proud.\n",
    )
    weather = t.choose(words.WEATHERS, lambda weather: f"One {weather.name} ")
    t.pick("morning", "afternoon", "day")
    t.say(f" {h.she} took it ")
    t.pick("down to the river", "up the hill", "into the woods", "across the meadow", "along the old road")
    t.say(". ")
    t.choose([loss.format(name=h.name, her=h.her, she=h.she, She=h.She, thing=thing.name) for loss in weather.losses])
    t.pick(
        f' "Oh no!" cried {h.name}. "My {thing.name} is gone!"\n',
        f" {h.name} looked to the left and to the right, but the {colour} {thing.name} was gone.\n",
        f' "Where are you, little {thing.name}?" whispered {h.name}, and a tear ran down {h.her} nose.\n',
        f" It was gone, and {h.name} did not know what to do.\n",
    )
    spots = list(words.SPOTS)
    t.pick(f"First {h.she} looked ", f"{h.name} searched ", f"{h.She} ran back and looked ")
    spots.remove(t.choose(spots))
    t.pick(", then ", " and ", ", and after that ")
    spots.remove(t.choose(spots))
    t.pick(", but there was nothing. ", ", but found only leaves. ", ". It was not there either. ")
    t.pick("Then ", "Just then ", "At last ")
    friend = friend_of(t, h)
    t.pick(
        f' came by. "Why are you so sad?" asked {friend.name}.\n',
        f' came along the path. "What is the matter?" {friend.she} asked.\n',
        f' looked out of a window. "Did you lose something?" asked {friend.name}.\n',
    )
    t.pick(
        f'"I have lost my {colour} {thing.name}," said {h.name}.\n',
        f'"My {thing.name} is gone, and I will never find it," said {h.name}.\n',
        f'"Have you seen a {thing.name}? It is {colour}," said {h.name}.\n',
    )
    t.pick(
        f'"I saw something {colour} ',
        f'"Something {colour} is lying ',
        f'"Wait! There was something {colour} ',
    )
    spot = t.choose(spots)
    t.pick(f'," said {friend.name}. "Come with me!"\n', f'," said {friend.name}. "Let us go and see."\n')
    t.pick(
        f"They ran all the way, and there, {spot}, lay the {thing.name}. ",
        f"Together they looked {spot}, and there it was, a little dirty but whole. ",
        f"And really, {spot} they found it. ",
    )
    thank(t, h, friend)
    t.pick(f"Then they {thing.joy} until the stars came out.", f"All that evening they {thing.joy}.")
    finish(t, h, friend)


def learn(t: Teller, hero: Character) -> None:
    """Plot: the hero wants to learn something and fails, a friend explains the trick, and the hero succeeds."""
    h = hero
    wish = t.choose(words.WISHES, lambda wish: wish.to_do)

    def fill(text: str) -> str:
        return text.format(name=h.name, her=h.her, she=h.she, She=h.She)

    t.pick(
        f'. "You are much too small for that," said {h.her} brother.\n',
        f". But nobody had ever shown {h.them} how.\n",
        f'. "One day I will," {h.she} told the moon.\n',
        f". {h.She} thought of it at breakfast, at lunch and at supper.\n",
    )
    t.pick("So one morning ", "On Monday ", "As soon as the sun was up, ", "When nobody was looking, ")
    t.say(f"{h.name} tried. ")
    t.choose([fill(failure) for failure in wish.failures])
    t.pick(
        f' "I will never learn it," {h.she} sighed.\n',
        f" {h.name} tried again, and again, but it was no use.\n",
        f" Everybody laughed, and {h.name} ran away and hid.\n",
        f" Poor {h.name}! {h.She} wanted to give up.\n",
    )
    t.pick("But ", "Luckily, ")
    friend = friend_of(t, h)
    t.pick(
        ' had seen it all. "',
        f' sat down beside {h.them}. "',
        ' came closer and smiled. "Do not be sad. ',
    )
    advice = t.choose(wish.advice)
    t.pick(
        f'," said {friend.name}. "That is the whole secret."\n',
        f'," {friend.she} said. "It took me a whole year to find that out."\n',
        f'," said {friend.name}. "And do not be afraid to fail."\n',
    )
    t.pick(f"{h.name} practised ", f"So {h.she} went on trying ", f"{friend.name} helped {h.them} ")
    t.pick("every day for a week", "all through the summer", "from morning to night", "in sun and rain")
    t.pick(". And then, ", ". And one fine day, ", ". Slowly it became easier, until at last ")
    t.say(fill(wish.success))
    t.pick(
        f' "I can do it!" shouted {h.name}.\n',
        f" {friend.name} clapped and laughed for joy.\n",
        f" {h.name} was so happy that {h.she} turned three somersaults.\n",
    )
    thank(t, h, friend)
    t.pick(
        f'And if anybody asked how it is done, {h.name} said: "{advice}."',
        f"From that day on {h.name} was never too small for anything.",
        "Now there are two of them who can.",
    )
    finish(t, h, friend)


def help_somebody(t: Teller, hero: Character) -> None:
    """Plot: the hero helps a small stranger, who returns the favor when the hero needs it most."""
    h = hero
    t.pick(f"{h.name} heard a tiny voice. ", f"{h.she} almost stepped on somebody. ")
    other = t.choose(words.STRANGERS, lambda stranger: f"It was a {stranger.name} ")
    trouble = t.choose(other.troubles, lambda trouble: trouble.what)
    t.pick(
        '. "Help me, please!" it cried.\n',
        '. "Nobody ever stops for me," it said.\n',
        '. "I have been here since yesterday," it sighed.\n',
    )
    t.pick(
        f"{h.name} was in a hurry, but {h.she} stopped at once. ",
        f'"Do not be afraid," said {h.name}. ',
        f'"Hold on, little one," said {h.name}. ',
        f"{h.name} put {h.her} basket down. ",
    )
    t.say(f"{h.She} " + trouble.rescue)
    t.pick(
        f'. "Thank you," said the {other.name}. "I will not forget it."\n',
        f'. "Some day I will help you too," said the {other.name}. {h.name} only smiled, for it was so very small.\n',
        f". The {other.name} thanked {h.them} and was gone.\n",
    )
    t.pick("A week later ", "When winter came, ", "Many days went by. Then, one evening, ")
    t.say(f"{h.name} ")
    t.pick(
        f"lost {h.her} way in the fog",
        "went too far into the woods, and it grew dark",
        "was caught in a storm far from home",
        "followed a wrong path and could not find the way back",
    )
    t.pick(
        f". {h.She} called, but nobody answered.\n",
        f'. "Now I am all alone," {h.she} thought.\n',
        f". {h.She} was cold and tired and a little afraid.\n",
    )
    t.pick(
        "Then something moved in the grass. ",
        "All at once there was a small sound. ",
        "But somebody had heard. ",
    )
    t.pick(f"It was the {other.name}! ", f"And who was it? The {other.name}! ")
    t.choose([deed.format(name=h.name, her=h.her, them=h.them, she=h.she) for deed in other.deeds])
    t.pick(
        f", and {h.name} followed, step by step, until {h.she} stood before {h.her} own door. ",
        ", all the way home. ",
        f", and soon {h.name} saw the lights of home. ",
    )
    t.pick(
        f'"You are small," said {h.name}, "but nobody has a bigger heart." ',
        f'"Now we are even," said the {other.name}. ',
        f'"How can I ever thank you?" asked {h.name}. "You already did," said the {other.name}. ',
    )
    t.pick(
        "They have been friends ever since.",
        "And they sat together by the fire and told each other everything.",
        f"So {h.name} learnt that no kindness is ever lost.",
        f"Since then {h.name} has never walked past anybody who called.",
    )


def cook(t: Teller, hero: Character) -> None:
    """Plot: the hero cooks, an ingredient is missing, and a neighbor who has it gets a share."""
    h = hero
    dish = t.choose(words.DISHES, lambda dish: dish.name)
    t.pick(
        f" for all {h.her} friends. ",
        f" for {h.her} grandmother. ",
        " for the big feast. ",
        ", the best in the whole valley. ",
    )
    t.pick(f"{h.She} put on an apron", f"{h.She} lit the stove", f"{h.She} washed {h.her} paws")
    t.pick(" and took the biggest bowl. ", " and began to sing. ", " and opened the old cookbook. ")
    t.pick('"Now I need ', f'"First of all," {h.she} said, "we need ', f'"And now," said {h.name}, "some ')
    missing = t.choose(dish.needs)
    t.pick(
        '." But the jar was empty!\n',
        f'." {h.She} looked on every shelf, but there was none left.\n',
        '." But somebody had eaten it all.\n',
    )
    t.pick(f"So {h.name} went to see ", f"{h.name} took a basket and walked to the house of ", "Next door lived ")
    friend = friend_of(t, h)
    t.pick(". ", ", who was just sweeping the floor. ", ", who was asleep in the sun. ")
    t.pick(
        f'"Could you give me some {missing}?" asked {h.name}.\n',
        f'"Please, do you have any {missing}?" asked {h.name}.\n',
        f'"I cannot go on without {missing}," said {h.name}.\n',
    )
    match t.pick(
        f'"Of course," said {friend.name}, ',
        f'"I have plenty of it," said {friend.name}, ',
        f'"Only if I may help you," said {friend.name}, ',
    ):
        case 2:
            t.pick("and took a wooden spoon along. ", "and was already at the door. ")
        case _:
            t.pick(f"and filled {h.her} basket to the top. ", "and would not take a penny for it. ")
    t.pick("Back in the kitchen ", "Soon ", "An hour later ")
    t.choose([step.format(name=h.name, she=h.she, friend=friend.name) for step in dish.steps])
    t.pick(
        " The smell went out of the window and down the street.\n",
        " Soon the whole house smelt wonderful.\n",
        f" {h.name} licked the spoon. It was perfect.\n",
    )
    t.pick("Everybody came", "One guest after another knocked at the door", "The table was hardly big enough")
    t.pick(
        f", and {friend.name} got the biggest piece. ",
        ", and when the pot was empty they danced. ",
        ", and not a crumb was left. ",
    )
    t.pick(
        f'"It tastes of friendship," said {friend.name}.',
        f'"Next time we will make two," said {h.name}.',
        f'"What is your secret?" they asked. "{missing.capitalize()}, and a good neighbour," said {h.name}.',
    )
    finish(t, h, friend)


def hear_a_noise(t: Teller, hero: Character) -> None:
    """Plot: the hero hears a frightening sound in the night and finds its harmless cause."""
    h = hero
    noise = t.choose(words.NOISES, lambda noise: noise.sound)
    t.pick(
        f" {h.name} pulled the blanket over {h.her} ears.\n",
        f" {h.name} sat up in bed, and {h.her} heart beat fast.\n",
        f' "Who is there?" {h.name} called, but there was no answer.\n',
    )
    monster = t.choose(words.MONSTERS, lambda monster: f'"It must be {monster}," {h.she} thought. ')
    t.pick(
        f"{h.She} counted to ten. Then it came again: ",
        "For a while it was quiet. Then, louder than before: ",
        f"{h.She} held {h.her} breath and listened: ",
    )
    t.say(noise.sound)
    t.pick(
        f" {h.name} could bear it no longer and ran to ",
        f" So {h.name} climbed out of the window and woke ",
    )
    friend = friend_of(t, h)
    t.pick(
        f'. "There is {monster} in my house!" {h.she} said.\n',
        f'. "Please come quickly," {h.she} said, "I have heard {monster}!"\n',
    )
    t.pick(
        f'"Then let us say good evening to it," said {friend.name}, ',
        f'"How exciting," said {friend.name}, ',
        f"{friend.name} was afraid too, but did not say so, ",
    )
    t.pick("and lit a lantern. ", "and took a big umbrella along. ", f"and held {h.name}'s paw tightly. ")
    t.pick("On tiptoe they went ", "Very slowly they went ", "Side by side they went ")
    t.say(noise.where + ". ")
    t.say(noise.sound)
    t.pick(" They both jumped. ", f' "There!" whispered {h.name}. ', f" {friend.name} took a deep breath. ")
    t.pick("Then they looked, and ", "They opened their eyes, and ", "The light fell on it, and ")
    t.say("what did they see? ")
    cause = t.choose(noise.causes, lambda cause: cause.what)
    t.pick(
        " They laughed until their bellies hurt. ",
        f' "And I thought it was {monster}!" said {h.name}. ',
        f' "Good evening, monster," said {friend.name}, and they both laughed. ',
    )
    t.say(cause.then.format(name=h.name, friend=friend.name))
    t.pick(
        f" After that {h.name} slept like a stone until morning.",
        f" And whenever {h.name} is afraid now, {h.she} goes and looks.",
        " It was the best night of the whole year.",
        f" {friend.name} stayed until the sun came up.",
    )


# ---------------------------------------------------------------------------------------- common turns


def thank(t: Teller, hero: Character, friend: Character) -> None:
    """The hero thanks the friend."""
    t.pick(
        f'"Thank you, {friend.name}!" said {hero.name}. ',
        f"{hero.name} gave {friend.name} a big hug. ",
        f'"What would I do without you?" said {hero.name}. ',
        f"{hero.name} gave {friend.name} {hero.her} last piece of cake. ",
    )


def finish(t: Teller, hero: Character, friend: Character) -> None:
    """The last sentence of a story about two friends."""
    t.pick(
        f" And {hero.name} and {friend.name} were friends for ever.",
        f" That night {hero.name} fell asleep with a smile.",
        f' "What a day!" said {friend.name} when the moon rose.',
        " And if they are not asleep, they are laughing still.",
        f" Home they went, arm in arm, the {hero.kind} and the {friend.kind}.",
    )
