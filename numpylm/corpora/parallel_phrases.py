"""Phrases of the parallel stories in English and Chinese: numbers, times, places, what people do, and why.

`numpylm.corpora.parallel_words` has the nouns, and explains the Chinese.
"""

from numpylm.corpora.parallel_words import Language, Skill, Word

# ----------------------------------------------------------------------------- numbers, times and places

_DIGITS = "零一二三四五六七八九十"
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def _chinese(n: int) -> str:
    """A number below 100 before a measure word: 2 is 两, but 12 is 十二."""
    tens, ones = divmod(n, 10)
    return "两" if n == 2 else (_DIGITS[tens] if tens > 1 else "") + "十" * (tens > 0) + _DIGITS[ones] * (ones > 0)


def _hours(first: int, last: int) -> tuple[Word, ...]:
    """Times of day from first to last, in quarters of an hour; 7:45 is also "a quarter short of eight" in Chinese."""
    times = []
    for hour in range(first, last + 1):
        en, zh = _NUMBERS[hour], f"{_chinese(hour)}点"
        times += [
            Word(f"{en} o'clock", zh),
            Word(f"a quarter past {en}", f"{zh}[一刻|十五分]"),
            Word(f"{en} thirty", f"{zh}[半|三十分]"),
            Word(f"a quarter to {en}", f"[差一刻{zh}|{_chinese(hour - 1)}点四十五分]"),
        ]
    return tuple(times)


NUMBERS = tuple(Word(_NUMBERS[n], _chinese(n)) for n in range(2, 11))
FEW = NUMBERS[:4]
MINUTES = tuple(
    Word(en, _chinese(n))
    for en, n in (("five", 5), ("ten", 10), ("fifteen", 15), ("twenty", 20), ("thirty", 30), ("forty", 40))
)
AGES = tuple(
    Word(en, _chinese(n))
    for en, n in (("ten", 10), ("twelve", 12), ("sixteen", 16), ("eighteen", 18), ("twenty", 20), ("thirty", 30))
)
TIMES = (Word("once", "一次"), Word("twice", "两次"), Word("three times", "三次"), Word("many times", "很多次"))
GETTING_UP = _hours(6, 8)
GOING_TO_BED = _hours(9, 11)
OPENING = _hours(8, 10)
CLOSING = _hours(7, 10)
PAST = (
    Word("yesterday", "昨天"),
    Word("yesterday morning", "[昨天早上|昨天上午]"),
    Word("yesterday afternoon", "昨天下午"),
    Word("last night", "[昨天晚上|昨晚]"),
    Word("this morning", "[今天早上|今早]"),
    Word("last week", "[上个星期|上周]"),
    Word("last Sunday", "[上个星期天|上周日]"),
    Word("last Friday", "[上个星期五|上周五]"),
    Word("last month", "上个月"),
    Word("last weekend", "上个周末"),
    Word("two days ago", "[两天前|前天]"),
    Word("three days ago", "三天前"),
)
DAYS = (
    Word("yesterday", "昨天"),
    Word("the day before yesterday", "前天"),
    Word("last Sunday", "[上个星期天|上周日]"),
    Word("last Monday", "[上个星期一|上周一]"),
    Word("last Friday", "[上个星期五|上周五]"),
    Word("three days ago", "三天前"),
)
MORNINGS = (
    Word("this morning", "[今天早上|今早]"),
    Word("yesterday morning", "[昨天早上|昨天早晨]"),
    Word("on Monday morning", "[星期一早上|周一早上]"),
    Word("on Friday morning", "[星期五早上|周五早上]"),
)
LONG_AGO = (
    Word("last month", "上个月"),
    Word("last year", "去年"),
    Word("last summer", "去年夏天"),
    Word("last winter", "去年冬天"),
    Word("two years ago", "两年前"),
    Word("three months ago", "三个月前"),
    Word("five years ago", "五年前"),
)
FUTURE = (
    Word("tomorrow", "明天"),
    Word("tomorrow morning", "[明天早上|明天上午]"),
    Word("tomorrow afternoon", "明天下午"),
    Word("tomorrow evening", "[明天晚上|明晚]"),
    Word("tonight", "[今天晚上|今晚]"),
    Word("this weekend", "[这个周末|周末]"),
    Word("next week", "[下个星期|下周]"),
    Word("next Saturday", "[下个星期六|下周六]"),
    Word("next month", "下个月"),
    Word("the day after tomorrow", "后天"),
)
SOON = (
    Word("tomorrow", "明天"),
    Word("tomorrow morning", "[明天早上|明天上午]"),
    Word("tomorrow afternoon", "明天下午"),
    Word("on Sunday", "[星期天|周日]"),
    Word("this weekend", "[这个周末|周末]"),
    Word("next Saturday", "[下个星期六|下周六]"),
    Word("the day after tomorrow", "后天"),
)
OFTEN = (
    Word("on weekends", "周末"),
    Word("on Sundays", "[星期天|周日]"),
    Word("on Saturdays", "[星期六|周六]"),
    Word("in the evening", "晚上"),
    Word("in the summer", "夏天"),
)
WEEKDAYS = (
    Word("Mondays", "[星期一|周一]"),
    Word("Tuesdays", "[星期二|周二]"),
    Word("Wednesdays", "[星期三|周三]"),
    Word("Fridays", "[星期五|周五]"),
    Word("Saturdays", "[星期六|周六]"),
    Word("Sundays", "[星期天|周日]"),
)
MEETING_PLACES = (
    Word("at the train station", "火车站"),
    Word("at the bus stop", "公交车站"),
    Word("in the park", "公园里"),
    Word("in the library", "[图书馆里|图书馆]"),
    Word("at the airport", "机场"),
    Word("at school", "[学校里|学校]"),
    Word("in front of the bank", "银行门口"),
    Word("at the supermarket", "[超市里|超市]"),
    Word("by the river", "河边"),
    Word("on the beach", "[沙滩上|海滩上]"),
    Word("at the gym", "健身房"),
    Word("outside the movie theater", "电影院[门口|外面]"),
    Word("near the museum", "博物馆附近"),
)
PLACES = (*MEETING_PLACES, Word("on the bus", "公交车上"), Word("on the subway", "地铁上"))
SHOPS = (
    Word("at the supermarket", "超市"),
    Word("at the market", "市场"),
    Word("at the corner store", "街角的小店"),
    Word("online", "网上"),
)
SPOTS = (
    Word("on the table", "[桌子上|桌上]"),
    Word("under the bed", "[床底下|床下]"),
    Word("behind the door", "[门后面|门后]"),
    Word("next to the window", "[窗户旁边|窗边]"),
    Word("on the sofa", "沙发上"),
    Word("on the bookshelf", "书架上"),
    Word("in the closet", "衣柜里"),
    Word("on the floor", "[地上|地板上]"),
    Word("in the kitchen", "厨房里"),
)
ROOMS = (
    Word("bedroom", "卧室"),
    Word("kitchen", "厨房"),
    Word("office", "办公室"),
    Word("garage", "车库"),
    Word("yard", "院子"),
)
BEDS = (
    Word("on the sofa", "沙发上"),
    Word("under the table", "[桌子下面|桌子底下]"),
    Word("in the basket", "篮子里"),
    Word("next to the stove", "[炉子旁边|炉边]"),
    Word("by the window", "[窗户旁边|窗边]"),
)
HIDING_PLACES = (
    Word("under the bed", "[床底下|床下]"),
    Word("behind the door", "[门后面|门后]"),
    Word("behind the curtain", "窗帘后面"),
    Word("under the table", "[桌子下面|桌子底下]"),
    Word("in the closet", "衣柜里"),
    Word("behind the sofa", "沙发后面"),
)
FURNITURE = (
    Word("table", "桌子"),
    Word("sofa", "沙发"),
    Word("bookshelf", "书架"),
    Word("windowsill", "窗台"),
    Word("piano", "钢琴"),
)
BUILDINGS = (
    Word("the library", "图书馆"),
    Word("the bank", "银行"),
    Word("the post office", "邮局"),
    Word("the hospital", "医院"),
    Word("the supermarket", "超市"),
    Word("the museum", "博物馆"),
    Word("the bookstore", "书店"),
    Word("the movie theater", "电影院"),
    Word("the coffee shop", "咖啡馆"),
    Word("the gym", "健身房"),
    Word("the drugstore", "药店"),
    Word("the bakery", "面包店"),
    Word("the restaurant", "[饭馆|餐馆]"),
    Word("the swimming pool", "游泳馆"),
    Word("the flower shop", "花店"),
    Word("the art gallery", "美术馆"),
    Word("the barbershop", "理发店"),
    Word("the toy store", "玩具店"),
    Word("the pet store", "宠物店"),
    Word("the teahouse", "茶馆"),
)
SIDES = (Word("left", "左"), Word("right", "右"))
ON_SIDES = (Word("left", "左边"), Word("right", "右边"))
VEHICLES = (
    Word("by bus", "[坐公交车|坐公共汽车]"),
    Word("by subway", "坐地铁"),
    Word("by taxi", "[坐出租车|打车]"),
    Word("by bike", "[骑自行车|骑车]"),
    Word("on foot", "[走路|步行]"),
)
CITIES = (
    Word("Beijing", "北京"),
    Word("Shanghai", "上海"),
    Word("New York", "纽约"),
    Word("London", "伦敦"),
    Word("Paris", "巴黎"),
    Word("Tokyo", "东京"),
    Word("Sydney", "悉尼"),
    Word("Chicago", "芝加哥"),
)


LANGUAGES = (
    Language("Chinese", "[中文|汉语]", "China", "中国"),
    Language("French", "法语", "France", "法国"),
    Language("German", "德语", "Germany", "德国"),
    Language("Japanese", "[日语|日文]", "Japan", "日本"),
    Language("Spanish", "西班牙语", "Spain", "西班牙"),
    Language("Italian", "意大利语", "Italy", "意大利"),
    Language("Russian", "俄语", "Russia", "俄罗斯"),
    Language("Korean", "[韩语|韩文]", "Korea", "韩国"),
)

# --------------------------------------------------------------------------- what people do, and how well

SKILLS = (
    Word("swim", "游泳"),
    Word("drive", "开车"),
    Word("cook", "做饭"),
    Word("dance", "跳舞"),
    Word("ski", "滑雪"),
    Word("skate", "[滑冰|溜冰]"),
    Word("ride a bike", "骑自行车"),
    Word("ride a horse", "骑马"),
    Word("play the piano", "弹钢琴"),
    Word("play the guitar", "弹吉他"),
    Word("play chess", "[下棋|下象棋]"),
    Word("play basketball", "打篮球"),
    Word("speak French", "说法语"),
    Word("make dumplings", "包饺子"),
    Word("paint", "画画"),
)
ACTIVITIES = (
    Word("play tennis", "打网球"),
    Word("play basketball", "打篮球"),
    Word("play chess", "[下棋|下象棋]"),
    Word("see a movie", "看电影"),
    Word("go swimming", "去游泳"),
    Word("go hiking", "去爬山"),
    Word("go fishing", "去钓鱼"),
    Word("go shopping", "[去逛街|去买东西]"),
    Word("eat hot pot", "吃火锅"),
    Word("make dumplings", "包饺子"),
    Word("visit the museum", "参观博物馆"),
    Word("take a walk in the park", "去公园散步"),
    Word("fly a kite", "放风筝"),
)
OUTINGS = (
    Word("swimming", "游泳"),
    Word("running", "跑步"),
    Word("hiking", "爬山"),
    Word("fishing", "钓鱼"),
    Word("shopping", "[逛街|买东西]"),
    Word("dancing", "跳舞"),
    Word("bowling", "打保龄球"),
)
AT_HOME = (
    Word("cooking dinner", "做晚饭"),
    Word("watching television", "看电视"),
    Word("reading the newspaper", "看报纸"),
    Word("washing the dishes", "洗碗"),
    Word("doing the laundry", "洗衣服"),
    Word("cleaning the kitchen", "打扫厨房"),
    Word("talking on the phone", "打电话"),
    Word("playing the piano", "弹钢琴"),
    Word("listening to music", "听音乐"),
    Word("taking a shower", "洗澡"),
    Word("watering the flowers", "浇花"),
    Word("writing an email", "写邮件"),
)


DONE_WELL = (
    Skill("sing", "唱歌", "唱"),
    Skill("dance", "跳舞", "跳"),
    Skill("swim", "游泳", "游"),
    Skill("ski", "滑雪", "滑"),
    Skill("cook", "做饭", "做"),
    Skill("play chess", "下棋", "下"),
    Skill("play basketball", "打篮球", "打"),
    Skill("play the piano", "弹钢琴", "弹"),
    Skill("speak English", "说英语", "说"),
    Skill("paint", "画画", "画"),
)
ADJECTIVES = (
    Word("taller", "高"),
    Word("shorter", "矮"),
    Word("thinner", "瘦"),
    Word("stronger", "强壮"),
    Word("busier", "忙"),
    Word("quieter", "安静"),
    Word("more patient", "有耐心"),
    Word("more careful", "细心"),
)
REQUESTS = (
    Word("close the door", "[把门关上|关上门]"),
    Word("open the window", "[把窗户打开|打开窗户]"),
    Word("turn off the light", "[把灯关了|把灯关掉]"),
    Word("turn on the heat", "[把暖气打开|打开暖气]"),
    Word("wait a moment", "[等一下|稍等一下]"),
    Word("speak a little more slowly", "说[慢一点|慢一点儿]"),
    Word("come in and sit down", "进来坐"),
    Word("take off your shoes", "[把鞋脱了|脱鞋]"),
    Word("wash your hands first", "先[洗洗手|洗手]"),
    Word("write it down", "[把它写下来|写下来]"),
    Word("call me back", "给我回[个电话|电话]"),
    Word("show me your ticket", "[出示一下车票|把车票给我看看]"),
)

# ------------------------------------------------------------------------------------ causes and effects

EVENTS = (
    Word("the meeting", "开会"),
    Word("class", "上课"),
    Word("the exam", "考试"),
    Word("the interview", "面试"),
    Word("the concert", "[去听|听]音乐会"),
)
LATE = (  # why somebody was late
    Word("{who.she} missed the bus", "[没赶上公交车|错过了公交车]"),
    Word("{who.she} overslept", "[睡过头|起得太晚]"),
    Word("there was a traffic jam", "路上堵车"),
    Word("the bus broke down", "公交车坏了"),
    Word("the train was delayed", "火车晚点"),
    Word("{who.she} took the wrong bus", "坐错车"),
)
SICK = (  # why somebody was taken to the hospital
    Word("{who2.she} had a fever", "发烧"),
    Word("{who2.she} had a stomachache", "肚子疼"),
    Word("{who2.she} broke {who2.her} arm", "[摔断了胳膊|胳膊骨折了]"),
    Word("{who2.she} hurt {who2.her} foot", "[脚受伤了|脚受了伤]"),
    Word("{who2.she} could not stop coughing", "[咳个不停|咳得很厉害]"),
    Word("{who2.she} did not feel well", "[不舒服|身体不舒服]"),
)
GLAD = (  # what somebody else did that made {who} happy
    Word("passed the exam", "[通过了考试|考试及格了]"),
    Word("won the game", "赢了比赛"),
    Word("remembered {who.her} birthday", "记得{who.ta}的生日"),
    Word("came to visit {who.him}", "来看{who.ta}"),
    Word("felt better again", "[身体好多了|身体好些了]"),
    Word("found a good job", "找到了[一份|]好工作"),
)
RAINY = (
    Word("stayed home", "都[待|留]在家里"),
    Word("took a taxi home", "[坐出租车|打车]回家了"),
    Word("did not go running", "都没[有|]去跑步"),
    Word("went to see a movie", "去看电影了"),
    Word("got completely wet", "全身都[湿透了|淋湿了]"),
)
SNOWY = (
    Word("built a snowman", "堆了[一个|个]雪人"),
    Word("stayed home", "都[待|留]在家里"),
    Word("walked very slowly", "都走得[很慢|非常慢]"),
    Word("went skiing", "去滑雪了"),
)
COLD = (
    Word("put on thick coats", "[都|]穿上了厚大衣"),
    Word("drank a lot of hot tea", "都喝了[很多|不少]热茶"),
    Word("did not want to get up", "都不想起床"),
    Word("caught a cold", "都感冒了"),
)
HOT = (
    Word("went swimming", "去游泳了"),
    Word("ate two bowls of ice cream", "吃了两碗冰淇淋"),
    Word("drank a lot of cold water", "都喝了[很多|不少]冰水"),
    Word("could not fall asleep", "都睡不着"),
)
CROWDED = (
    Word("could not get in", "[进不去|没能进去]"),
    Word("had to wait in line for an hour", "[只好|不得不]排队等了一个小时"),
    Word("left right away", "马上就[走|离开]了"),
)
BAD_WEATHER = (
    Word("rains", "下雨"),
    Word("snows", "下雪"),
    Word("is windy", "刮风"),
    Word("is too hot", "太热"),
    Word("is too cold", "太冷"),
)
INDOORS = (
    Word("stay home", "[待|留]在家里"),
    Word("play chess at home", "在家[下棋|下象棋]"),
    Word("go to the movies", "去看电影"),
    Word("make dumplings at home", "在家包饺子"),
    Word("visit the museum", "去参观博物馆"),
    Word("go to the library", "去图书馆"),
)
ARRIVALS = (
    Word("gets home", "[到家|回到家]"),
    Word("wakes up", "睡醒"),
    Word("finishes dinner", "吃完[晚饭|饭]"),
    Word("gets off the train", "下[了|]火车"),
    Word("gets to the hotel", "到[了|]酒店"),
    Word("packs {who.her} suitcase", "收拾好行李"),
)
