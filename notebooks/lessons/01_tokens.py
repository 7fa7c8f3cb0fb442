# %% [markdown]
# # 01 · Tokens: from text to numbers
#
# A language model never sees a letter. In this lesson you find out what it sees instead: you write the algorithm that cuts
# text into tokens, train it on stories, and look at what it has learnt.
#
# **You need:** lesson 00 (how exercises and the check work), Python's lists and dicts. No mathematics.
# **Time:** about an hour. **You will write:** four functions.

# %%
import re

from tqdm import tqdm

from numpylm import Tokenizer
from numpylm.course import check, stories, storyteller, style

plt = style()

# %% [markdown]
# ## 1 What should a number stand for?
#
# A model computes with numbers, so text must be turned into numbers first. Cut it into pieces that all come from one fixed
# list, and replace each piece by its place in the list. The pieces are **tokens**, the list is the **vocabulary**, the
# place of a token is its **id**. The model reads ids, and all it ever does is predict the next one. Two letters for the
# rest of the course: $V$ is the size of the vocabulary, $T$ the length of a text in tokens.
#
# Which pieces? There are three wishes, and they pull in different directions:
#
# 1. **Every text can be written.** Nothing may be missing from the list.
# 2. **Small $T$.** A model looks back over a limited number of tokens, and each token costs time.
# 3. **Small $V$.** The model keeps a row of numbers for each token, and must see each one often to learn what it means.
#
# The two obvious choices are characters and words. Here are both, with vocabularies taken from 0.9 MB of stories, on four
# texts which are not among those.

# %%
documents = stories(1_000_000)
train, validation = documents[:-140], documents[-140:]

texts = {
    "another story": validation[0],
    "English": "The engineer measured the bridge again: 4,200 tonnes of steel.",
    "Chinese": "山里住着一只小狐狸。",  # In the mountains lived a little fox.
    "emoji": "The fox 🦊 waved to her family 👨‍👩‍👧.",
}


def words(text):
    """Words and punctuation marks; white space is dropped."""
    return re.findall(r"\w+|[^\w\s]", text)


known_characters = set("".join(train))
known_words = set(words("".join(train)))
print(f"characters: V = {len(known_characters)}, words: V = {len(known_words)}\n")
print("                bytes     characters  unknown     words  unknown")
for name, text in texts.items():
    lost_characters = sum(c not in known_characters for c in text)
    lost_words = sum(w not in known_words for w in words(text))
    print(
        f"{name:14}  {len(text.encode()):5}     {len(text):10}  {lost_characters:7}     "
        f"{len(words(text)):5}  {lost_words:7}"
    )

# %% [markdown]
# **Characters** make a small vocabulary, but long texts: in English about four times as many tokens as words do. And
# already the English sentence holds characters that no story has, the digits. Could the list not hold *all* characters?
# Unicode has more than 150,000 of them, and most would never be seen in training.
#
# **Words** make short texts. But nearly half of the English sentence is unknown, and a model that only has "unknown" for
# them can neither read nor write it. The Chinese sentence counts as one long word and a full stop, because Chinese is
# written without spaces. Also, the spaces are lost: from the words alone you cannot get the text back.
#
# On the other story no word is unknown. That is luck: the stories come from a program with few words. Compare with a text
# that people have written, the language reference that Python's `help()` shows (hundreds of kilobytes, part of every
# Python). How many different words have occurred after so much text?

# %%
from pydoc_data.topics import topics

reference = "\n".join(topics.values())


def growth(text):
    """How much has been read (kB), and how many different words it held, every 500 words."""
    seen, read, different = set(), [], []
    for n, match in enumerate(re.finditer(r"\w+", text)):
        seen.add(match.group())
        if n % 500 == 0:
            read.append(match.end() / 1000)
            different.append(len(seen))
    return read, different


fig, axes = plt.subplots()
for name, text in (("Python's reference", reference), ("stories", "".join(documents)[: len(reference)])):
    axes.plot(*growth(text), label=name)
axes.set(xlabel="text read (kB)", ylabel="different words so far", ylim=0)
axes.legend()
plt.show()

at = int(0.9 * len(reference))
last = words(reference[at:])
new = set(last) - set(words(reference[:at]))
share = sum(w in new for w in last) / len(last)
print(f"reference: {share:.1%} of the words in the last tenth never occur in the nine tenths before")

# %% [markdown]
# The stories run out of new words. A real text never does: the flat pieces of the curve are tables and lists; then it goes
# on. There are always names, numbers, compounds, spelling mistakes. However long the list of words, something is missing.
#
# So: start from pieces that can write *everything*, and make them longer where that pays. That is **byte-pair encoding**,
# BPE (Gage 1994, for compressing files; Sennrich, Haddow & Birch 2016, arXiv:1508.07909, section 3.2, for translation;
# Radford et al. 2019, section 2.2, for GPT-2). The pieces to start from are bytes.

# %% [markdown]
# ## 2 Bytes
#
# A file does not hold characters. It holds bytes, numbers from 0 to 255, and a rule says which bytes stand for which
# character. Today that rule is **UTF-8** nearly everywhere. Each character has a number in Unicode, its *code point*, and
# UTF-8 writes it with one to four bytes:

# %%
for character in "fé狐🦊":
    code = character.encode("utf-8")
    bits = " ".join(f"{byte:08b}" for byte in code)
    print(f"U+{ord(character):05X}  bytes {list(code)!s:21}  bits {bits:35}  {character}")

# %% [markdown]
# Look at the bits from the left. A byte that begins with 0 is a character of its own: these are the 128 characters of
# ASCII, with their old numbers. Otherwise the first byte begins with as many ones as the character has bytes (110…, 1110…,
# 11110…) and the others all begin with 10. The bits that are left over, put together, are the code point: for é, `00011`
# and `101001` make `00011101001`, which is 233, or E9 in base 16.
#
# So a decoder can tell at every byte whether a character begins there. And this is what counts for us: with 256 tokens,
# **every text of every language can be written, and nothing is ever unknown**. What looks like one picture may be many
# bytes, though:

# %%
family = "👨‍👩‍👧"
print(f"{family}: {len(family)} characters, {len(family.encode())} bytes")
for character in family:
    print(f"   U+{ord(character):05X}  {character.encode().hex(' ')}")

# %% [markdown]
# Three people and two invisible joiners between them. The price of bytes is the length $T$: a Chinese character takes three
# tokens, this family 18. Now make the pieces longer.

# %% [markdown]
# ## 3 The two steps of BPE
#
# Take a text as a list of ids, at first its bytes. Then repeat:
#
# 1. **Count** all pairs of neighbours.
# 2. **Merge** the most frequent pair: wherever it stands, one new token takes the place of the two.
#
# Each round makes the vocabulary larger by one and the text shorter. You write both steps.

# %% [markdown]
# ### Exercise: `count_pairs`
#
# Neighbours may overlap: in `[5, 5, 5]` the pair `(5, 5)` stands twice. The order matters: `(1, 2)` is not `(2, 1)`.
#
# @hint A nudge
# The pair at place `i` is `ids[i]` and `ids[i + 1]`. So the last `i` is the last place but one: T ids have T - 1 pairs.
# @hint How to count
# A pair is a tuple and can be the key of a dict. `counts.get(pair, 0)` is what was counted so far, or 0 for a new pair.
# @hint Almost code
# ```python
# counts = {}
# for i in range(…):
#     pair = ids[i], ids[i + 1]
#     counts[pair] = counts.get(…, 0) + …
# return counts
# ```
# @end


# %% exercise="count_pairs"
def my_count_pairs(ids):
    """How often does each pair of neighbours occur?

    Parameters
    ----------
    ids : list of int (T,)

    Returns
    -------
    dict of (int, int) -> int
        Only pairs that occur; empty if there are fewer than two ids.
    """
    # --- solution
    counts = {}
    for i in range(len(ids) - 1):
        pair = ids[i], ids[i + 1]
        counts[pair] = counts.get(pair, 0) + 1
    return counts
    # --- end


# %%
count_pairs = check("count_pairs", my_count_pairs)

# %%
text = "the hen, the hare and the hedgehog"
ids = list(text.encode("utf-8"))
counts = count_pairs(ids)
print(ids, "\n")
for pair in sorted(counts, key=counts.get, reverse=True)[:5]:
    print(pair, repr(bytes(pair).decode()), "occurs", counts[pair], "times")

# %% [markdown]
# ### Exercise: `merge`
#
# Go through the list from the left. Where the pair begins, write `new_id` and go on *behind* the pair; anywhere else, copy
# one id. So the leftmost pair is taken first and no id is used twice: `[5, 5, 5]` with the pair `(5, 5)` and the new id 9
# gives `[9, 5]`, and `[5, 5, 5, 5]` gives `[9, 9]`. Make a new list; the old one stays as it is.
#
# @hint A nudge
# A `for` loop always goes on by one. Here you go on by one *or by two*: use `while` and count yourself.
# @hint The end of the list
# The last id has no right neighbour. `ids[i : i + 2]` is then a list of one, without an error, and equal to no pair.
# @hint Almost code
# ```python
# out, i = [], 0
# while i < len(ids):
#     if tuple(ids[i : i + 2]) == pair:
#         out.append(…)
#         i += …
#     else:
#         out.append(…)
#         i += …
# return out
# ```
# @end


# %% exercise="merge"
def my_merge(ids, pair, new_id):
    """Replace a pair of neighbours by one new id, leftmost first, without overlaps.

    Parameters
    ----------
    ids : list of int (T,)
    pair : (int, int)
    new_id : int

    Returns
    -------
    list of int
        A new list, shorter by one for each pair that was replaced.
    """
    # --- solution
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out
    # --- end


# %%
merge = check("merge", my_merge)

# %%
shorter = merge(ids, (ord("h"), ord("e")), 256)
print(f"{len(ids)} ids become {len(shorter)}:\n{shorter}")

# %% [markdown]
# ## 4 Train a tokenizer
#
# With the two steps, training is a loop. Here it runs on a little over 20 kB of stories. `merges` remembers the pairs in
# the order in which they were learnt, `vocab` what bytes each id stands for: the bytes of its left half, then those of its
# right half.

# %%
story_text = "".join(train[:30])
ids = list(story_text.encode("utf-8"))
vocab = {byte: bytes([byte]) for byte in range(256)}
merges = []
lengths = [len(ids)]
for new_id in tqdm(range(256, 376), leave=False):
    counts = count_pairs(ids)
    pair = max(counts, key=counts.get)
    ids = merge(ids, pair, new_id)
    merges.append(pair)
    vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
    lengths.append(len(ids))

for number in (0, 1, 2, 3, 4, 9, 19, 39, 79, 119):
    left, right = merges[number]
    print(f"merge {number:3}: {vocab[left]!r:12} + {vocab[right]!r:14} -> {256 + number}  {vocab[256 + number]!r}")
print(f"\n{lengths[0]:,} bytes have become {lengths[-1]:,} tokens: {lengths[0] / lengths[-1]:.2f} bytes per token")

# %%
fig, axes = plt.subplots()
axes.plot(range(256, 377), lengths)
axes.set(xlabel="size of the vocabulary, V", ylabel="length of the text (tokens)", ylim=0)
plt.show()

# %% [markdown]
# The first merges save most, because the most frequent pairs come first. Then each new token is, as a rule, rarer than the
# one before it and saves less: the first sign of a trade-off that you will measure below.

# %% [markdown]
# ## 5 Use it
#
# A trained tokenizer is nothing but the list of merges. To cut a *new* text, start from its bytes and apply the merges **in
# the order in which they were learnt**. Then a word is cut as it was cut in training. In another order the pieces would be
# others: a merge that comes early takes letters away from one that comes later.
#
# ### Exercise: `bpe_encode`
#
# The merge at place `n` of the list makes the id `256 + n`, as in the loop above. You have `merge`.
#
# @hint A nudge
# One call of `merge` for each pair of the list. Each works on what the one before it returned.
# @hint Almost code
# ```python
# for n, pair in enumerate(merges):
#     ids = merge(ids, …, …)
# return ids
# ```
# @end


# %% exercise="bpe_encode"
def my_bpe_encode(ids, merges):
    """Apply learnt merges to the bytes of a text.

    Parameters
    ----------
    ids : list of int (number of bytes,)
        Each from 0 to 255.
    merges : list of (int, int)
        In the order in which they were learnt; the one at place n makes the id 256 + n.

    Returns
    -------
    list of int
        The tokens.
    """
    # --- solution
    for n, pair in enumerate(merges):
        ids = merge(ids, pair, 256 + n)
    return ids
    # --- end


# %%
bpe_encode = check("bpe_encode", my_bpe_encode)

# %% [markdown]
# ### Exercise: `bpe_decode`
#
# The way back looks harmless: put together what each token stands for. There is one trap. A token is a piece of the
# *bytes*, and may hold half a character. So the bytes must be joined first, and decoded as a whole.
#
# What if the whole ends in the middle of a character, because a model stopped there? Then it is not valid UTF-8, and Python
# raises an error, unless you say `errors="replace"`: then the broken bytes become the sign �.
#
# @hint A nudge
# Two steps: one long `bytes`, then one call of `decode`.
# @hint How to join
# `b"".join(parts)` joins `bytes` as `"".join(parts)` joins strings.
# @hint Almost code
# ```python
# joined = b"".join(vocab[i] for i in …)
# return joined.decode("utf-8", errors=…)
# ```
# @end


# %% exercise="bpe_decode"
def my_bpe_decode(ids, vocab):
    """The text of a list of tokens.

    Parameters
    ----------
    ids : list of int (T,)
    vocab : dict of int -> bytes
        What each id stands for.

    Returns
    -------
    str
        What is not valid UTF-8 becomes �.
    """
    # --- solution
    joined = b"".join(vocab[i] for i in ids)
    return joined.decode("utf-8", errors="replace")
    # --- end


# %%
bpe_decode = check("bpe_decode", my_bpe_decode)

# %%
for name, text in texts.items():
    tokens = bpe_encode(list(text.encode("utf-8")), merges)
    same = bpe_decode(tokens, vocab) == text
    print(f"{name:14} {len(text.encode()):5} bytes  {len(tokens):5} tokens   back to the same text: {same}")

# %% [markdown]
# Every text makes the round trip, also those with characters that the tokenizer has never seen. They only cost more: not
# one pair of the Chinese sentence occurs in the stories, so it stays one token a byte. The first wish is granted for ever.

# %% [markdown]
# ## 6 Where words begin
#
# Here are the longest tokens that your loop has learnt:

# %%
for token in sorted(vocab.values(), key=len, reverse=True)[:8]:
    print(repr(token.decode()))

# %% [markdown]
# Some reach across the end of a word, into the next word or the punctuation. That wastes the vocabulary: the same word with
# a comma, with a full stop and with the beginning of the next word would each be a token of its own, and what the model
# learns of one tells it nothing of the others. So GPT-2's tokenizer cuts the text into *chunks* first and merges only
# inside them (Radford et al. 2019, section 2.2). The rule is a regular expression:

# %%
import regex  # like re, but it knows \p{L}: a letter of any script

from numpylm.text.pretokenize import GPT2_PATTERN

print(GPT2_PATTERN, "\n")
print(regex.findall(GPT2_PATTERN, "The fox's two tails weren't 10 cm long!  狐狸 🦊"))

# %% [markdown]
# Read it at its bars, `|`: English endings such as `'s`; a run of letters; a run of digits; a run of other signs; white
# space. Note the ` ?` before the runs: **a space belongs to the word that follows it.** Were it a token of its own, every
# second token of a text would be a space. And the way back needs no rule about where spaces go: join the bytes, done.
#
# The price: the same word is two different tokens with and without a space before it. You will see both.
#
# ## 7 A tokenizer of 1,024 tokens
#
# `numpylm.Tokenizer` does what you did, with chunks, and fast: each *different* chunk is handled once however often it
# occurs, and a merge updates the counts instead of counting anew (read `numpylm/text/bpe.py`). Encoding looks for the
# earliest-learnt pair that is left, which gives the same tokens as your loop over all merges.

# %%
tokenizer = Tokenizer.train(train, vocab_size=1024)
learnt = [tokenizer.token_bytes(i).decode() for i in range(256, 1023)]  # 256 bytes come before, one special token after
print("the first ten:  ", learnt[:10])
print("ten in between: ", learnt[300:310])
print("the last ten:   ", learnt[-10:])
print("the longest:    ", sorted(learnt, key=len, reverse=True)[:7])
spaced = sum(token.startswith(" ") for token in learnt)
print(f"\n{spaced} of the {len(learnt)} learnt tokens begin with a space")

# %% [markdown]
# First come mostly pairs of letters, then syllables and short words, at the end mostly whole words. A token that begins with a
# space begins a word; one without is the middle or the end of a word, or stands where a line or a quotation begins. Now see
# how texts are cut. A bar stands between tokens:


# %%
def show(text):
    """The text cut into tokens; bytes that are no whole character are shown in base 16."""
    parts = []
    for i in tokenizer.encode(text):
        token = tokenizer.token_bytes(i)
        try:
            parts.append(token.decode("utf-8"))
        except UnicodeDecodeError:
            parts.append(token.hex())
    return "|".join(parts)


for text in (validation[0][:74], *list(texts.values())[1:]):
    tokens = tokenizer.encode(text)
    print(
        f"{len(text.encode()):3} bytes, {len(tokens):2} tokens, {len(text.encode()) / len(tokens):.2f} bytes per token"
    )
    print("   ", show(text))

# %% [markdown]
# A story is cut into words, nearly. The English about something else falls into syllables and letters: these words are not
# in the stories, but everything can still be written. Chinese and emoji fall back to single bytes, shown in base 16. A text
# like those that a tokenizer was trained on is cheap, every other text is dear. That holds for the tokenizers of large
# models too: who pays by the token pays more for the same thing in a language that the tokenizer has seen less of.
#
# Since a fox is four tokens here, a model can stop in the middle of it:

# %%
fox = tokenizer.encode("🦊")
print("ids of the fox:", fox, "  its bytes:", list("🦊".encode()))
for n in range(1, 5):
    print(f"   the first {n}: {tokenizer.decode(fox[:n])!r}")

# %% [markdown]
# Each cut gives �, without an error: the fox appears when its last byte arrives. Programs that print a model's text while
# it is being written hold such bytes back until the character is whole (`numpylm.inference.generation.stream_text`). And note that a
# byte's id is not its value here: GPT-2's files write each byte as a visible letter, and the ids follow the order of those
# letters. It does not matter which number a token has, as long as it always has the same.

# %% [markdown]
# ## 8 How large should the vocabulary be?
#
# Train tokenizers of several sizes on the same stories, and measure how many bytes a token holds on the average, on three
# texts that were not trained on. (More than the last size cannot be learnt here: no pair is left that occurs twice.)

# %%
samples = {
    "other stories": "".join(validation),
    "Python's reference": reference[:50_000],
    "Chinese": texts["Chinese"],
}
sizes = [257, 300, 360, 450, 600, 800, 1024, 1400, 2000]
bytes_per_token = {name: [] for name in samples}
reached = []
for size in tqdm(sizes, leave=False):
    trained = Tokenizer.train(train, size)
    reached.append(trained.vocab_size)
    for name, text in samples.items():
        bytes_per_token[name].append(len(text.encode()) / len(trained.encode(text)))

fig, axes = plt.subplots()
for name, values in bytes_per_token.items():
    axes.plot(reached, values, "o-", label=name, markersize=4)
axes.set(xscale="log", xlabel="size of the vocabulary, V", ylabel="bytes per token", ylim=0)
axes.set_xticks([256, 512, 1024, 2048], ["256", "512", "1,024", "2,048"])
axes.minorticks_off()
axes.legend()
plt.show()
for name, values in bytes_per_token.items():
    print(f"{name:20}", *(f"V = {reached[i]:5,}: {values[i]:.2f}   " for i in (0, 6, -1)))

# %% [markdown]
# On the stories, each doubling of $V$ adds about one byte per token, the first a little more, until nothing is left to learn.
# So the same gain costs more and more tokens. On a text of another kind, more than half of the gain comes with the first
# hundred merges.
#
# And $V$ has a price: the model has a row of numbers for each token. How much of a model is that? Here is the bundled one,
# of lesson 00 (it has a tokenizer of its own, of the same size). And how often does each token that our tokenizer has
# learnt occur in its 0.9 MB of training text?

# %%
gpt, _ = storyteller()
table = gpt.wte.weight.data  # (V, C): a row of C numbers for each token
print(f"table of tokens {table.shape}: {table.size:,} of {gpt.num_parameters():,} parameters")

uses = [0] * tokenizer.vocab_size
for i in tokenizer.encode("".join(train)):
    uses[i] += 1
often = sorted(uses[256:1023], reverse=True)
never = [tokenizer.decode([i]) for i in range(256, 1023) if uses[i] == 0]
print(f"the most frequent learnt token occurs {often[0]:,} times, the middle one {often[len(often) // 2]} times")
print(f"{len(never)} never occur, such as {never[54:62]}")

# %% [markdown]
# Nearly a quarter of this small model is that table. Most tokens are seen often enough to be learnt; in a real text, with
# its many rare words, the middle one would be much rarer. And some never occur in the very text that they were learnt from.
# They were rungs of a ladder: a piece of a word is merged, then the piece with its neighbour, and from then on the piece
# stands nowhere alone. Their rows are wasted; all BPE vocabularies have some.
#
# GPT-2 has 50,257 tokens: 256 bytes, 50,000 merges and one special token. That fits a model of 124 million parameters or
# more and 40 GB of text. For a text of a few megabytes, one or two thousand are plenty.

# %% [markdown]
# ## 9 Special tokens
#
# One id has been left out so far, the last one. A training text is many documents in one long row, and the model must be
# told where one ends. No text should be able to say so by accident, so this token is not made of bytes: it is added to the
# vocabulary by hand.

# %%
print("the special token:", tokenizer.special_tokens)
row = []
for document in ("A first document.", "A second one."):
    row += [*tokenizer.encode(document), tokenizer.end_id]
print("two documents in a row:", row)
text = "The end.<|endoftext|>"
print("written out in a text:    ", tokenizer.encode(text))
print("with allow_special=True:  ", tokenizer.encode(text, allow_special=True))

# %% [markdown]
# In training the model learns two things about `<|endoftext|>`: what comes before it (an end), and what comes after it (a
# beginning). So generation *starts* from it, and *stops* when the model draws it. Written out in a text, the same letters
# are ordinary text, unless the program allows otherwise. Keep it that way for text from strangers: whoever may write
# special tokens can end your document and begin another one in your name. Chat models mark who is speaking in the same way.

# %% [markdown]
# ## 10 Why spelling is hard
#
# Ask a model how many g's there are in *hedgehog*. What does it see?

# %%
for text in ("hedgehog", " hedgehog", " Hedgehog", " hedgehogs", " hedgehg", " h e d g e h o g"):
    print(f"{text!r:20} ids {tokenizer.encode(text)!s:40} {show(text)}")

# %% [markdown]
# The word that it meets in stories is one id. Nothing in that number says that the word has eight letters, two of them g's.
# The plural happens to begin with the same id; the capital form, the misspelling and the word without a space do not: they
# share nothing with it that the model could see. A model can learn spelling only as it learns everything, by having read
# about it. The same holds for arithmetic: how a number is cut into tokens depends on which digits stood together often, and
# not on its value.
#
# When a model stumbles over letters, rhymes or digits, look at its tokens first: `numpylm tokenize data/storyteller "text"`
# shows them.

# %% [markdown]
# ## What you can do now
#
# - say what a model sees of a text, and what $V$ and $T$ are;
# - read UTF-8 byte by byte;
# - write byte-pair encoding: count, merge, encode, decode;
# - choose the size of a vocabulary, and say what a special token is for.
#
# ## Three questions
#
# @answer Why are merges applied in the order in which they were learnt, and not the longest token first?
# Because the model was trained on texts that were cut that way. Longest first would also give pieces of the vocabulary, and
# the text would come back unchanged, but the model would meet sequences of ids that it has rarely or never seen. What
# counts is that the same text is always cut in the same way.
# @answer A tokenizer was trained on English. Which texts can it not encode, and what will you notice on Japanese?
# It can encode every text, since all 256 bytes are in its vocabulary. On Japanese you will notice about three tokens for
# each character, so fewer characters fit into the model's context, each costs more time, and the model must spell each one
# from bytes.
# @answer You decode each new token by itself and print it at once. What goes wrong, and when?
# Nothing, as long as every token is whole characters, as in English. As soon as a character is spread over several tokens,
# each part alone is not valid UTF-8: you print � several times, or get an error. Join the bytes first, and hold back those
# at the end that do not make a whole character yet.
# @end
