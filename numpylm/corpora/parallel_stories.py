"""Parallel stories: pairs of an English and a Chinese sentence that tell the same small event, for translation.

Each row of the tables below is one kind of sentence in both languages. Words are picked while the English sentence is
written, and no phrase of a pick is the beginning of another one, so the picks (the event) can be read off the English
sentence. The Chinese sentence then uses the same words in its own order. Brackets hold what a Chinese speaker might
just as well say. All Chinese sentences that a row allows for the event are equally likely:

    -log P(Chinese | English) = log(number of these sentences)

This is 2.3 nats a sentence in the mean. The English sentences have an entropy of 14.4 nats.

What differs between the languages, and can be seen in the tables:

- Chinese puts time and place before the verb, and everything that describes a noun before that noun, joined with 的.
- Nouns are counted with measure words, and 2 is then 两: two scarves = 两条围巾.
- Verbs have no tense. 了 marks a completed action, 过 an experience, 着 a lasting state, 在 an action going on.
- 把 moves a definite object before the verb, and 被 makes a passive.
- Questions keep the word order of statements: yes-no questions end in 吗 or 没有, "And yours?" in 呢.
"""

from dataclasses import dataclass

from numpylm.corpora import parallel_phrases, parallel_words
from numpylm.corpora.known_entropy import Teller
from numpylm.corpora.parallel_words import Word
from numpylm.corpora.templates import Words, beginning, expand, fill, tell_slots


@dataclass(frozen=True)
class Pattern:
    """One kind of sentence in both languages."""

    en: str
    zh: str

    @property
    def opening(self) -> str:
        return beginning(self.en)


# The words of a slot such as {thing:belongings} come from the table BELONGINGS of one of these files.
TABLES = {
    name.lower(): table
    for file in (parallel_words, parallel_phrases)
    for name, table in vars(file).items()
    if name.isupper() and not name.startswith("_")
}

ABOUT_PEOPLE = (  # after the person {who}
    # ------------------------------------------------------------------ finding, losing, giving, buying
    Pattern(
        " found {color.a:colors} {thing:belongings} {place:places} {time:past}.",
        "[{time}{who}|{who}{time}]在{place}[发现|捡到]了一{thing.measure}{color}{thing}。",
    ),
    Pattern(
        " lost {who.her} {color:colors} {thing:belongings} {place:places} {time:past}.",
        "[{time}{who}|{who}{time}]在{place}把{color}{thing}[弄丢了|丢了]。",
    ),
    Pattern(
        "'s {color:colors} {thing:belongings} was stolen {place:places} {time:past}.",
        "{who}的{color.bare}{thing}{time}在{place}被[偷了|偷走了|人偷走了]。",
    ),
    Pattern(
        " gave {who2:people} {color.a:colors} {thing:belongings} for {who2.her} birthday.",
        "[{who2}过生日[的时候|那天]，{who}送了{who2.ta}一{thing.measure}{color}{thing}|"
        "{who}送给{who2}一{thing.measure}{color}{thing}[当|作为]生日礼物]。",
    ),
    Pattern(
        " bought {who2:people} {color.a:colors} {thing:goods} {time:past}.",
        "[{time}{who}|{who}{time}][给|为]{who2}买了一{thing.measure}{color.one}{thing}。",
    ),
    Pattern(
        " borrowed {n:few} {thing.plural:books} from {who2:people} {time:past}.",
        "[{time}{who}|{who}{time}][向|跟]{who2}借了{n}{thing.measure}{thing}。",
    ),
    Pattern(
        " handed {who2:people} {n:few} {thing.plural:papers} {place:meeting_places}.",
        "{who}在{place}[递给|交给]{who2}{n}{thing.measure}{thing}。",
    ),
    Pattern(
        " put the {color:colors} {thing:belongings} {spot:spots}.",
        "{who}把{color}{thing}放[在了|到了|在]{spot}。",
    ),
    # ------------------------------------------------------------------------------- motion and travel
    Pattern(
        " went to {where:buildings} {vehicle:vehicles} {time:past}.",
        "[{time}{who}|{who}{time}]{vehicle}去了{where}。",
    ),
    Pattern(
        " walked into {where:buildings} with {color.a:colors} {thing:belongings} in {who.her} hand.",
        "{who}[手里拿|拿]着一{thing.measure}{color}{thing}走[进|进了]{where}。",
    ),
    Pattern(
        " plans to fly to {city:cities} with {who2:people} {time:future}.",
        "{who}[打算{time}|{time}打算][和|跟]{who2}[一起|]坐飞机去{city}。",
    ),
    Pattern(
        " has been to {city:cities} {times:times} but has never been to {city2:cities}.",
        "{who}去过[{city}{times}|{times}{city}]，[但是|可是|不过][从来没|没]去过{city2}。",
    ),
    Pattern(
        " had already left when {who2:people} got to {where:buildings}.",
        "{who2}到{where}[的时候|时]，{who}已经[走了|离开了]。",
    ),
    Pattern(
        " is waiting for {who2:people} {place:meeting_places}.",
        "{who}[在|正在]{place}等{who2}[呢|]。",
    ),
    # ----------------------------------------------------------------- possessions, clothes, meals, likes
    Pattern(
        " owns {n:numbers} {animal.plural:animals} and {m:numbers} {animal2.plural:animals}.",
        "{who}[有|养了|家里有]{n}{animal.measure}{animal}和{m}{animal2.measure}{animal2}。",
    ),
    Pattern(
        " is wearing {color.a:colors} {thing:coats} and {color2.a:colors} {thing2:hats} today.",
        "[今天{who}|{who}今天]穿着一{thing.measure}{color}{thing}，戴着一{thing2.measure}{color2}{thing2}。",
    ),
    Pattern(
        " ate {n:few} {dish.plural:dishes} and drank {drink.a:drinks} for {meal:meals} {time:days}.",
        "[{time}{who}|{who}{time}]{meal}吃了{n}{dish.measure}{dish}，喝了一{drink.measure}{drink}。",
    ),
    Pattern(
        " likes the {color:colors} {thing:belongings}, but {who2:people} likes the {color2:colors} one better.",
        "{who}喜欢那{thing.measure}{color}{thing}，[但是|可是|不过]{who2}更喜欢{color2.one}[那{thing.measure}|]。",
    ),
    Pattern(
        " would like to buy the {color:colors} {thing:goods}, not the {color2:colors} one.",
        "{who}[想买|要买]那{thing.measure}{color.one}{thing}，[不是|不想买]{color2.one}那{thing.measure}。",
    ),
    # ---------------------------------------------------------------------------- wants, abilities, habits
    Pattern(
        " wants to {do:activities} with {who2:people} {time:future}.",
        "{who}[想{time}|{time}想][和|跟]{who2}一起{do}。",
    ),
    Pattern(
        " can {do:skills} but cannot {do2:skills}, and neither can {who2:people}.",
        "{who}会{do}，[但是|可是|不过]不会{do2}，{who2}也不会[{do2}|]。",
    ),
    Pattern(
        " taught {who2:people} to {do:skills} {time:long_ago}.",
        "[{time}{who}|{who}{time}][教会了{who2}{do}|教{who2}学会了{do}]。",
    ),
    Pattern(
        " studied {language:languages} with {who2:people} for {n:numbers} years "
        "but has never been to {language.country}.",
        "{who}[和|跟]{who2}学了{n}年[的|]{language}，[但是|可是|不过]从来没去过{language.country_zh}。",
    ),
    Pattern(
        " often goes {outing:outings} with {who2:people} {when:often}.",
        "{who}{when}[常常|经常][和|跟]{who2}[一起|]去{outing}。",
    ),
    Pattern(
        " gets up at {clock:getting_up} and goes to bed at {clock2:going_to_bed} every day.",
        "{who}每天早上{clock}起床，晚上{clock2}睡觉。",
    ),
    Pattern(
        " will call {who2:people} after {who.she} {then:arrivals}.",
        "{who}{then}[以后|之后|后][会|就]给{who2}打电话。",
    ),
    Pattern(
        " said to {who2:people}, “Please {request:requests}.”",
        "{who}[对|跟]{who2}说：“请[你|]{request}。”",
    ),
    # -------------------------------------------------------------------------------------- comparisons
    Pattern(
        " is much {adjective:adjectives} than {who2:people}.",
        "{who}比{who2}{adjective}[得多|多了|很多]。",
    ),
    Pattern(
        " is a little {adjective:adjectives} than {who2:people}.",
        "{who}比{who2}{adjective}[一点|一点儿|一些]。",
    ),
    Pattern(
        " does not {skill:done_well} as well as {who2:people}.",
        "{who}{skill}[没有{who2}{skill.verb}得|{skill.verb}得没有{who2}][好|那么好]。",
    ),
    # ------------------------------------------------------------------------------------------- reasons
    Pattern(
        " was late for {event:events} {time:mornings} because {why:late}.",
        "[因为{why}，{who}{time}|{who}{time}因为{why}，]{event}迟到了。",
    ),
    Pattern(
        " took {who2:people} to the hospital {time:days} because {why:sick}.",
        "[因为{who2}{why}，{who}{time}|{who2}{time}{why}，{who}][带|送]{who2.ta}去了医院。",
    ),
    Pattern(
        " was very happy {time:days} because {who2:people} {why:glad}.",
        "[{time}{who}|{who}{time}][很|非常]高兴，因为{who2}{why}。",
    ),
)

ABOUT_NAMES = (  # after a person of the table of names
    Pattern(
        " was born {n:numbers} years before {who2:names}, but {who3:names} is the oldest.",
        "{who}比{who2}大{n}岁，[但是|可是|不过]{who3}[年纪|年龄]最大。",
    ),
    Pattern(
        " turned {age:ages} {time:days}, and {who2:people} gave {who.him} {color.a:colors} {thing:belongings}.",
        "{who}{time}[满{age}岁了|过了{age}岁生日]，{who2}送[了|给]{who.ta}一{thing.measure}{color}{thing}。",
    ),
)

ABOUT_PETS = (
    Pattern(
        " ran out of {owner:people}'s {room:rooms} and hid {spot:hiding_places}.",
        "{who.the}从{owner}的{room}里[跑出来|跑了出来]，[躲|藏][在了|到了]{spot}。",
    ),
    Pattern(
        " ate {owner:people}'s {food:leftovers} {time:past}.",
        "[{time}{who.the}把{owner}的{food}|{owner}的{food}{time}被{who.the}][吃了|吃掉了]。",
    ),
    Pattern(
        " jumped onto the {furniture:furniture} and broke {owner:people}'s {color:colors} {thing:fragile}.",
        "{who.the}[跳上{furniture}|跳到{furniture}上]，[打碎了{owner}的{color.bare}{thing}|把{owner}的{color.bare}{thing}打碎了]。",
    ),
    Pattern(
        " was sleeping {spot:beds} while {who2:people} was {doing:at_home}.",
        "{who2}[在|]{doing}的时候，{who.the}[正|]在{spot}睡觉。",
    ),
    Pattern(
        " followed {who2:people} all the way to {where:buildings} {time:past}.",
        "[{time}{who.the}|{who.the}{time}][一路|一直]跟着{who2}[到了|走到了]{where}。",
    ),
    Pattern(
        " hid {owner:people}'s {color:colors} {thing:hats} {spot:hiding_places}.",
        "{who.the}把{owner}的{color.bare}{thing}藏[在了|到了]{spot}。",
    ),
)

ABOUT_BUILDINGS = (
    Pattern(
        " is next to {where2:buildings}, across from {where3:buildings}.",
        "{where}[在|就在]{where2}[的|]旁边，{where3}[的|]对面。",
    ),
    Pattern(
        " was already closed when {who:people} and {who2:people} got there {time:past}.",
        "{time}{who}[和|跟]{who2}到{where}的时候，[那里|那儿]已经关门了。",
    ),
    Pattern(
        " was so crowded {time:past} that {who:people} {effect:crowded}.",
        "[{time}{where}人|{where}{time}人][太多了|特别多]，{who}{effect}。",
    ),
    Pattern(
        " is to the {side:on_sides} of {where2:buildings}, not far from {where3:buildings}.",
        "{where}在{where2}[的|]{side}，离{where3}[不|不太]远。",
    ),
    Pattern(
        " opens at {clock:opening} and closes at {clock2:closing} on {day:weekdays}.",
        "{where}{day}[早上|上午]{clock}开门，晚上{clock2}关门。",
    ),
    Pattern(
        " is only {n:minutes} minutes from {where2:buildings} {vehicle:vehicles}.",
        "从{where2}[到{where}{vehicle}|{vehicle}到{where}][只要|只需要]{n}分钟。",
    ),
    Pattern(
        " is farther from {owner:people}'s house than {where2:buildings}.",
        "[{where}比{where2}离{owner}家|从{owner}家到{where}比到{where2}][更|]远。",
    ),
    Pattern(
        " is closed on {day:weekdays}, but {where2:buildings} is open until {clock:closing}.",
        "{where}{day}[不开门|休息]，[但是|可是|不过]{where2}开到晚上{clock}。",
    ),
)

OTHERS = (  # begin with neither a person nor a pet nor a building
    # ------------------------------------------------------------------------------------------ existence
    Pattern(
        "There is {color.a:colors} {thing:belongings} and {color2.a:colors} {thing2:belongings} {spot:spots}.",
        "{spot}[有|放着]一{thing.measure}{color}{thing}和一{thing2.measure}{color2}{thing2}。",
    ),
    Pattern(
        "There are {n:numbers} {person.plural:groups} and {m:numbers} {person2.plural:groups} {place:places}.",
        "{place}有{n}{person.measure}{person}和{m}{person2.measure}{person2}。",
    ),
    Pattern(
        "This {thing:made} was made by {who:people} {time:long_ago}.",
        "这{thing.measure}{thing}是{who}{time}[亲手|]做的。",
    ),
    # ------------------------------------------------------------------------------------------ questions
    Pattern(
        "Where did {who:people} put the {color:colors} {thing:belongings}?",
        "{who}把{color}{thing}放[在哪儿|在哪里|哪儿]了？",
    ),
    Pattern(
        "Is this {color:colors} {thing:belongings} yours or {who:people}'s?",
        "这{thing.measure}{color}{thing}是你的还是{who}的？",
    ),
    Pattern(
        "Whose {color:colors} {thing:belongings} is that {spot:spots}?",
        "[{spot}的那{thing.measure}{color}{thing}|{spot}那{thing.measure}{color}{thing}]是谁的？",
    ),
    Pattern(
        "How much are these {n:numbers} {color:colors} {thing.plural:belongings}?",
        "这{n}{thing.measure}{color}{thing}[一共|总共]多少钱？",
    ),
    Pattern(
        "How many {thing.plural:groceries} did {who:people} buy {place:shops} {time:past}?",
        "[{time}{who}|{who}{time}]在{place}买了[几|多少]{thing.measure}{thing}？",
    ),
    Pattern(
        "Has {who:people} found {who.her} {color:colors} {thing:belongings} yet?",
        "[{who}的{color.bare}{thing}找到了|{who}找到自己的{color.bare}{thing}了][吗|没有]？",
    ),
    Pattern(
        "Which {thing:belongings} does {who:people} like better, the {color:colors} one or the {color2:colors} one?",
        "{who}更喜欢[哪|哪一]{thing.measure}{thing}，{color.one}还是{color2.one}？",
    ),
    Pattern(
        "What did {who:people} give {who2:people} {time:long_ago}?",
        "[{time}{who}|{who}{time}]送了{who2}什么[礼物|]？",
    ),
    Pattern(
        "Why didn't {who:people} come to {where:buildings} {time:past}?",
        "[{time}{who}|{who}{time}][为什么|怎么]没来{where}？",
    ),
    # ----------------------------------------------------------------------------------------- quotations
    Pattern(
        "“How do I get to {where:buildings}?” {who:people} asked {who2:people}.",
        "{who}问{who2}：“[请问，|][去|到]{where}怎么走？”",
    ),
    Pattern(
        "“Turn {side:sides} at {where:buildings},” said {who:people}, "
        "“and {where2:buildings} is on the {side2:on_sides}.”",
        "{who}说：“[到|在]{where}[往{side}拐|向{side}转]，{where2}就在{side2}。”",
    ),
    Pattern(
        "“Would you like {drink:offers} or {drink2:offers}?” {who:people} asked {who2:people}.",
        "{who}问{who2}：“你[想|要]喝{drink}还是{drink2}？”",
    ),
    Pattern(
        "“My {thing:belongings} is {spot:spots}. Where is yours?” {who:people} asked {who2:people}.",
        "{who}问{who2}：“我的{thing}在{spot}，[你的呢|你的在哪儿]？”",
    ),
    # --------------------------------------------------------------------- weather, conditions, commands
    Pattern(
        "If it {weather:bad_weather} {time:soon}, {who:people} and {who2:people} will {do:indoors}.",
        "[如果|要是]{time}{weather}，{who}和{who2}就{do}。",
    ),
    Pattern(
        "It rained hard {time:days}, so {who:people} and {who2:people} {effect:rainy}.",
        "[因为|]{time}[下大雨|雨下得很大]，所以{who}[和|跟]{who2}{effect}。",
    ),
    Pattern(
        "It snowed a lot {time:days}, so {who:people} and {who2:people} {effect:snowy}.",
        "[因为|]{time}[下大雪|雪下得很大]，所以{who}[和|跟]{who2}{effect}。",
    ),
    Pattern(
        "It was very cold {time:days}, so {who:people} and {who2:people} {effect:cold}.",
        "[因为|]{time}[天气|][很|非常]冷，所以{who}[和|跟]{who2}{effect}。",
    ),
    Pattern(
        "It was very hot {time:days}, so {who:people} and {who2:people} {effect:hot}.",
        "[因为|]{time}[天气|][很|非常]热，所以{who}[和|跟]{who2}{effect}。",
    ),
    Pattern(
        "When {who:people} got home, {who2:people} was {doing:at_home}.",
        "{who}[到家|回到家][的时候|时]，{who2}[在|正在]{doing}。",
    ),
    Pattern(
        "Please give this {color:colors} {thing:belongings} to {who:people} {time:soon}.",
        "[请{time}|{time}请]把这{thing.measure}{color}{thing}[交给|拿给]{who}。",
    ),
    Pattern(
        "Don't forget to bring {n:few} {thing.plural:papers} to {who:people} {time:soon}.",
        "[{time}别忘了|别忘了{time}]给{who}带{n}{thing.measure}{thing}。",
    ),
)

# How a sentence can begin, and how it can go on after a subject.
SUBJECTS: dict[Word, tuple[Pattern, ...]] = {
    **dict.fromkeys(parallel_words.PEOPLE, ABOUT_PEOPLE),
    **dict.fromkeys(parallel_words.NAMES, ABOUT_PEOPLE + ABOUT_NAMES),
    **dict.fromkeys(parallel_words.PETS, ABOUT_PETS),
    **dict.fromkeys(parallel_phrases.BUILDINGS, ABOUT_BUILDINGS),
}
STARTS: tuple[Word | Pattern, ...] = (*SUBJECTS, *OTHERS)


def tell(t: Teller) -> list[str]:
    """Write an English sentence; return all its translations into Chinese, which are equally likely."""
    picked: Words = {}
    start = t.choose(STARTS, lambda start: start.opening)
    if isinstance(start, Pattern):
        pattern = start
    else:
        picked["where" if start in parallel_phrases.BUILDINGS else "who"] = start
        pattern = t.choose(SUBJECTS[start], lambda pattern: pattern.opening)
    tell_slots(t, pattern.en, TABLES, picked)
    return expand(fill(pattern.zh, picked, "zh"))
