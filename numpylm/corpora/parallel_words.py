"""The vocabulary of the parallel stories: English and Chinese words, and the measure word of each Chinese noun.

Chinese counts things with a measure word between number and noun, as English does in "two sheets of paper". Each noun
has its own: 一把雨伞 (an umbrella: it has a handle), 一条围巾 (a scarf: long and soft), 一本书 (a book: bound). "Two"
before a measure word is 两 and not 二.

Where Chinese has several usual words, they stand in brackets: "[医生|大夫]" (see `numpylm.corpora.templates`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word or phrase in both languages."""

    en: str
    zh: str

    @property
    def a(self) -> str:
        """With the indefinite article."""
        return f"{'an' if self.en[0] in 'aeiou' else 'a'} {self.en}"

    @property
    def opening(self) -> str:
        """As the first words of a sentence."""
        return self.en[0].upper() + self.en[1:]


@dataclass(frozen=True)
class Person(Word):
    """A person; "she" or "he" is always the same."""

    she: str = "she"

    @property
    def her(self) -> str:
        """Possessive."""
        return "her" if self.she == "she" else "his"

    @property
    def him(self) -> str:
        """Object."""
        return "her" if self.she == "she" else "him"

    @property
    def ta(self) -> str:
        """The Chinese pronoun, always pronounced ta."""
        return "她" if self.she == "she" else "他"


@dataclass(frozen=True)
class Noun(Word):
    """Something that is counted with its own measure word."""

    measure: str
    irregular: str = ""

    @property
    def plural(self) -> str:
        return self.irregular or self.en + "s"


@dataclass(frozen=True)
class Pet(Noun):
    """An animal that stories are told about."""

    @property
    def opening(self) -> str:
        return f"The {self.en}"

    @property
    def the(self) -> str:
        """Definite in Chinese, which has no article: just the noun, or "that" with the measure word."""
        return f"[{self.zh}|那{self.measure}{self.zh}]"


@dataclass(frozen=True)
class Color(Word):
    """A color. A red hat is 红色的帽子 or 红帽子; "the red one" must be 红色的; "Anna's red hat" avoids a second 的."""

    @property
    def one(self) -> str:
        """The forms that can stand alone."""
        return f"[{'|'.join(form for form in self.zh.strip('[]').split('|') if form.endswith('的'))}]"

    @property
    def bare(self) -> str:
        """The forms without 的."""
        return self.zh.replace("的", "")


@dataclass(frozen=True)
class Language(Word):
    """A language, and a country where it is spoken."""

    country: str
    country_zh: str


@dataclass(frozen=True)
class Skill(Word):
    """Something done well or badly. Chinese says the verb twice: 唱歌唱得好, "sing songs, sing well"."""

    verb: str


# ------------------------------------------------------------------------------------ people and animals

NAMES = (
    Person("Tom", "汤姆", "he"),
    Person("Anna", "安娜"),
    Person("Jack", "杰克", "he"),
    Person("Lucy", "露西"),
    Person("Li Ming", "李明", "he"),
    Person("Wang Fang", "王芳"),
    Person("Zhang Lei", "张磊", "he"),
    Person("Mary", "玛丽"),
)
PEOPLE = (
    *NAMES,
    Person("my mother", "[我妈妈|妈妈]"),
    Person("my father", "[我爸爸|爸爸]", "he"),
    Person("my grandmother", "[我奶奶|奶奶]"),
    Person("my grandfather", "[我爷爷|爷爷]", "he"),
    Person("my older sister", "[我姐姐|姐姐]"),
    Person("my little brother", "[我弟弟|弟弟]", "he"),
    Person("my uncle", "[我叔叔|叔叔]", "he"),
    Person("my aunt", "[我姑姑|姑姑]"),
    Person("my classmate", "我同学", "he"),
    Person("our neighbor", "[我们邻居|邻居]"),
    Person("the teacher", "老师"),
    Person("the doctor", "[医生|大夫]", "he"),
    Person("the nurse", "护士"),
    Person("the driver", "司机", "he"),
    Person("the cook", "厨师", "he"),
    Person("the engineer", "工程师"),
    Person("the reporter", "记者"),
    Person("the police officer", "警察", "he"),
    Person("the waiter", "服务员", "he"),
    Person("the old man", "[老人|那位老人]", "he"),
)
GROUPS = (
    Noun("nurse", "护士", "[位|名]"),  # 位 is polite, 名 is neutral, 个 is for children
    Noun("doctor", "医生", "[位|名]"),
    Noun("police officer", "警察", "名"),
    Noun("teacher", "老师", "位"),
    Noun("student", "学生", "[个|名]"),
    Noun("child", "孩子", "个", "children"),
    Noun("tourist", "游客", "[位|名]"),
    Noun("reporter", "记者", "[位|名]"),
)
PETS = (
    Pet("cat", "猫", "只"),
    Pet("dog", "狗", "条"),
    Pet("kitten", "小猫", "只"),
    Pet("puppy", "小狗", "只", "puppies"),
    Pet("black cat", "黑猫", "只"),
    Pet("old dog", "老狗", "条"),
)
ANIMALS = (
    Noun("cat", "猫", "只"),
    Noun("dog", "狗", "条"),
    Noun("rabbit", "兔子", "只"),
    Noun("horse", "马", "匹"),
    Noun("cow", "牛", "头"),
    Noun("pig", "猪", "头"),
    Noun("sheep", "羊", "只", "sheep"),
    Noun("donkey", "驴", "头"),
    Noun("duck", "鸭子", "只"),
    Noun("goose", "鹅", "只", "geese"),
    Noun("chicken", "鸡", "只"),
    Noun("goldfish", "金鱼", "条", "goldfish"),
)

# ----------------------------------------------------------------------------------------------- things

BELONGINGS = (  # can be carried, given, lost and found
    Noun("umbrella", "雨伞", "把"),
    Noun("fan", "扇子", "把"),
    Noun("teapot", "茶壶", "把"),
    Noun("hat", "帽子", "顶"),
    Noun("scarf", "围巾", "条", "scarves"),
    Noun("towel", "毛巾", "条"),
    Noun("blanket", "毯子", "条"),
    Noun("sweater", "毛衣", "件"),
    Noun("raincoat", "雨衣", "件"),
    Noun("pair of gloves", "手套", "双", "pairs of gloves"),
    Noun("pair of shoes", "鞋子", "双", "pairs of shoes"),
    Noun("pair of sunglasses", "墨镜", "副", "pairs of sunglasses"),
    Noun("pencil", "铅笔", "支"),
    Noun("candle", "蜡烛", "根"),
    Noun("watch", "手表", "块", "watches"),
    Noun("phone", "手机", "部"),
    Noun("camera", "相机", "台"),
    Noun("kite", "风筝", "只"),
    Noun("wallet", "钱包", "个"),
    Noun("backpack", "书包", "个"),
    Noun("suitcase", "箱子", "个"),
    Noun("cup", "杯子", "个"),
    Noun("basket", "篮子", "个"),
)
GOODS = (  # are bought, but not carried in the hand
    Noun("bicycle", "自行车", "辆"),
    Noun("car", "汽车", "辆"),
    Noun("motorcycle", "摩托车", "辆"),
    Noun("chair", "椅子", "把"),
    Noun("table", "桌子", "张", "tables"),
    Noun("sofa", "沙发", "张"),
    Noun("desk lamp", "台灯", "盏"),
    Noun("guitar", "吉他", "把"),
    Noun("piano", "钢琴", "架"),
    Noun("refrigerator", "冰箱", "台"),
)
PAPERS = (  # have no color worth mentioning
    Noun("book", "书", "本"),
    Noun("novel", "小说", "[本|部]"),
    Noun("magazine", "杂志", "本"),
    Noun("dictionary", "词典", "本", "dictionaries"),
    Noun("newspaper", "报纸", "份"),
    Noun("letter", "信", "封"),
    Noun("photo", "照片", "张"),
    Noun("map", "地图", "张"),
    Noun("postcard", "明信片", "张"),
    Noun("key", "钥匙", "把"),
    Noun("painting", "画", "幅"),
)
BOOKS = (*PAPERS[:5], Noun("comic book", "漫画书", "本"), Noun("map", "地图", "张"))
COATS = (  # what is worn with the verb 穿
    Noun("shirt", "衬衫", "件"),
    Noun("sweater", "毛衣", "件"),
    Noun("jacket", "夹克", "件"),
    Noun("coat", "大衣", "件"),
    Noun("raincoat", "雨衣", "件"),
)
HATS = (  # what is worn with the verb 戴
    Noun("hat", "帽子", "顶"),
    Noun("scarf", "围巾", "条", "scarves"),
    Noun("watch", "手表", "块", "watches"),
    Noun("pair of gloves", "手套", "双"),
    Noun("pair of sunglasses", "墨镜", "副"),
)
FRAGILE = (
    Noun("vase", "花瓶", "个"),
    Noun("cup", "杯子", "个"),
    Noun("plate", "盘子", "个"),
    Noun("teapot", "茶壶", "把"),
)
MADE = (  # made by hand, with the material
    Noun("wooden chair", "[木椅子|木头椅子]", "把"),
    Noun("wooden table", "[木桌子|木头桌子]", "张"),
    Noun("wooden box", "[木盒子|木头盒子]", "个"),
    Noun("straw hat", "草帽", "顶"),
    Noun("silk scarf", "[丝巾|丝绸围巾]", "条"),
    Noun("wool sweater", "[羊毛衫|羊毛毛衣]", "件"),
    Noun("wool blanket", "羊毛毯", "条"),
    Noun("leather bag", "皮包", "个"),
    Noun("paper lantern", "纸灯笼", "[个|盏]"),
    Noun("paper airplane", "纸飞机", "[架|只]"),
    Noun("silver necklace", "银项链", "条"),
    Noun("clay pot", "[陶罐|陶土罐子]", "个"),
)
GROCERIES = (
    Noun("apple", "苹果", "个"),
    Noun("orange", "橙子", "个"),
    Noun("watermelon", "西瓜", "个"),
    Noun("egg", "鸡蛋", "个"),
    Noun("banana", "香蕉", "根"),
    Noun("fish", "鱼", "条", "fish"),
    Noun("bottle of milk", "牛奶", "瓶", "bottles of milk"),
    Noun("bottle of beer", "啤酒", "瓶", "bottles of beer"),
    Noun("box of cookies", "饼干", "盒", "boxes of cookies"),
    Noun("bag of rice", "大米", "袋", "bags of rice"),
)
DISHES = (
    Noun("egg", "鸡蛋", "个"),
    Noun("banana", "香蕉", "根"),
    Noun("sandwich", "三明治", "个", "sandwiches"),
    Noun("piece of cake", "蛋糕", "块", "pieces of cake"),
    Noun("slice of bread", "面包", "片", "slices of bread"),
    Noun("bowl of rice", "米饭", "碗", "bowls of rice"),
    Noun("bowl of noodles", "面条", "碗", "bowls of noodles"),
)
DRINKS = (
    Noun("glass of milk", "牛奶", "杯"),
    Noun("glass of water", "水", "杯"),
    Noun("cup of tea", "茶", "杯"),
    Noun("cup of coffee", "咖啡", "杯"),
    Noun("bottle of juice", "果汁", "瓶"),
)
OFFERS = (
    Word("tea", "茶"),
    Word("coffee", "咖啡"),
    Word("milk", "牛奶"),
    Word("orange juice", "橙汁"),
    Word("water", "水"),
    Word("beer", "啤酒"),
)
LEFTOVERS = (
    Word("fish", "鱼"),
    Word("cake", "蛋糕"),
    Word("sandwich", "三明治"),
    Word("cookies", "饼干"),
    Word("breakfast", "[早饭|早餐]"),
    Word("lunch", "[午饭|午餐]"),
    Word("dinner", "[晚饭|晚餐]"),
)
MEALS = LEFTOVERS[-3:]
COLORS = (
    Color("red", "[红色的|红]"),
    Color("blue", "[蓝色的|蓝]"),
    Color("green", "[绿色的|绿]"),
    Color("yellow", "[黄色的|黄]"),
    Color("white", "[白色的|白]"),
    Color("black", "[黑色的|黑]"),
    Color("gray", "[灰色的|灰]"),
    Color("purple", "[紫色的|紫]"),
    Color("pink", "[粉色的|粉红色的]"),
    Color("orange", "[橙色的|橘黄色的]"),
    Color("brown", "[棕色的|咖啡色的]"),
)
