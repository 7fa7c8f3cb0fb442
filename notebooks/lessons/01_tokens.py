# %% [markdown]
# # 01 · Tokens: from text to numbers
#
# A language model never sees a letter. In this lesson you find out what it sees instead. You write the algorithm that
# cuts text into tokens, you train it on stories, and you look at what it has learned.
#
# **You need:** lesson 00 (how exercises and the check work), and Python's lists and dicts. You need no mathematics.
# **Time:** about an hour. **You will write:** four functions.

# %%
import re

from tqdm import tqdm

from numpylm import Tokenizer
from numpylm.course import check, stories, storyteller, style

plt = style()

# %% [markdown]
# ## 1 What should one number represent?
#
# A model computes with numbers, so text must be turned into numbers first. We cut it into pieces that all come from one
# fixed list, and replace each piece by its index in the list. The pieces are **tokens**, the list is the
# **vocabulary**, and the index of a token is its **id**. The model reads ids, and it predicts the next id. We use two
# letters for the rest of the course: $V$ is the size of the vocabulary, $T$ the length of a text in tokens.
#
# Which pieces should we choose? We want three things, and they conflict:
#
# 1. **Every text can be written.** Nothing is missing from the list.
# 2. **Small $T$.** A model can look back over a limited number of tokens, and each token takes time.
# 3. **Small $V$.** The model has a row of numbers for each token, and it must see a token often to learn what it means.
#
# The two obvious choices are characters and words. The next cell takes both vocabularies from 0.9 MB of stories, and
# applies them to four other texts.

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
# **Characters** give a small vocabulary, but long texts: in English about four times as many tokens as words give. And
# even the English sentence contains characters that no story has, the digits. Could the list hold *all* characters?
# Unicode has more than 150,000 of them, and most would never be seen in training.
#
# **Words** give short texts. But nearly half of the words in the English sentence are unknown, and the model can
# neither read nor write an unknown word. The Chinese sentence counts as one long word and a period, because Chinese is
# written without spaces. And the spaces are lost: you cannot recover the text from the words alone.
#
# In the other story no word is unknown. But that is a special case: a program with few words writes the stories. Let us
# compare with a text that people wrote: the language reference that Python's `help()` shows (hundreds of kilobytes,
# part of every Python). As we read more and more of each text, how many different words have we seen?

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
# The stories run out of new words. A real text never does. (The flat parts of its curve are tables and lists; after
# them it rises again.) There are always new names, numbers, compounds and spelling mistakes. However long the list of
# words is, something is missing.
#
# The solution is to start from pieces that can write *everything*, and to make them longer where that saves tokens.
# This is **byte-pair encoding**, BPE (Gage 1994, for compressing files; Sennrich, Haddow & Birch 2016,
# arXiv:1508.07909, section 3.2, for translation; Radford et al. 2019, section 2.2, for GPT-2). It starts from bytes.

# %% [markdown]
# ## 2 Bytes
#
# A file does not hold characters. It holds bytes, numbers from 0 to 255, and a rule says which bytes encode which
# character. Today that rule is **UTF-8** nearly everywhere. Each character has a number in Unicode, its *code point*,
# and UTF-8 writes it with one to four bytes:

# %%
for character in "fé狐🦊":
    code = character.encode("utf-8")
    bits = " ".join(f"{byte:08b}" for byte in code)
    print(f"U+{ord(character):05X}  bytes {list(code)!s:21}  bits {bits:35}  {character}")

# %% [markdown]
# Read the bits from the left. A byte that begins with 0 is a whole character: these are the 128 characters of ASCII,
# with their old numbers. Otherwise the first byte begins with as many ones as the character has bytes (110…, 1110…,
# 11110…) and the other bytes all begin with 10. The remaining bits, joined, are the code point: for é,
# `00011` and `101001` make `00011101001`, which is 233, or E9 in base 16.
#
# So a decoder can tell at every byte whether a character begins there. For us, one consequence matters most: with 256
# tokens, **every text in every language can be written, and nothing is ever unknown**. But what looks like one picture
# may be many bytes:

# %%
family = "👨‍👩‍👧"
print(f"{family}: {len(family)} characters, {len(family.encode())} bytes")
for character in family:
    print(f"   U+{ord(character):05X}  {character.encode().hex(' ')}")

# %% [markdown]
# The emoji consists of three people with two invisible joiners between them. The drawback of bytes is the length $T$: a
# Chinese character takes three tokens, and this family takes 18. So the next step is to make the pieces longer.

# %% [markdown]
# ## 3 The two steps of BPE
#
# Represent the text as a list of ids. At first these are its bytes. Then repeat two steps:
#
# 1. **Count** all pairs of adjacent ids.
# 2. **Merge** the most frequent pair: wherever it occurs, replace the two ids by one new id.
#
# Each round makes the vocabulary larger by one token, and the text shorter. You will write both steps.

# %% [markdown]
# ### Exercise: `count_pairs`
#
# Pairs may overlap: in `[5, 5, 5]` the pair `(5, 5)` occurs twice. The order matters: `(1, 2)` is not `(2, 1)`.
#
# @hint A nudge
# The pair at index `i` is `ids[i]` and `ids[i + 1]`. So the last `i` is the second-to-last index: T ids have T - 1
# pairs.
# @hint How to count
# A pair is a tuple, so it can be the key of a dict. `counts.get(pair, 0)` is the count so far, or 0 for a new pair.
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
    """How often does each pair of adjacent ids occur?

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
# Go through the list from the left. Where the pair begins, write `new_id` and continue *after* the pair. Everywhere
# else, copy one id. So the leftmost pair is merged first, and no id is used twice: `[5, 5, 5]` with the pair `(5, 5)`
# and the new id 9 gives `[9, 5]`, and `[5, 5, 5, 5]` gives `[9, 9]`. Make a new list; the old one stays as it is.
#
# @hint A nudge
# A `for` loop always advances by one. Here you advance by one *or by two*: use `while` and advance the index yourself.
# @hint The end of the list
# The last id has no id to its right. There, `ids[i : i + 2]` is a list with one element. This is not an error, and it
# is not equal to any pair.
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
    """Replace a pair of adjacent ids by one new id, leftmost first, without overlaps.

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
# With the two steps, training is a loop. Here it runs on a little over 20 kB of stories. `merges` keeps the pairs in
# the order in which they were learned. `vocab` says which bytes each id represents: the bytes of its left half, then
# those of its right half.

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
# The first merges save the most, because the most frequent pairs come first. After that, each new token is usually
# rarer than the one before it, and saves less. This is the first sign of a trade-off that you will measure below.

# %% [markdown]
# ## 5 Use it
#
# A trained tokenizer is just the list of merges. To cut a *new* text, start from its bytes and apply the merges **in
# the order in which they were learned**. Then a word is cut as it was cut in training. A different order would give
# different pieces, because an early merge takes letters away from a later one.
#
# ### Exercise: `bpe_encode`
#
# The merge at index `n` of the list makes the id `256 + n`, as in the loop above. You can use `merge`.
#
# @hint A nudge
# Call `merge` once for each pair in the list. Each call works on the result of the call before it.
# @hint Almost code
# ```python
# for n, pair in enumerate(merges):
#     ids = merge(ids, …, …)
# return ids
# ```
# @end


# %% exercise="bpe_encode"
def my_bpe_encode(ids, merges):
    """Apply learned merges to the bytes of a text.

    Parameters
    ----------
    ids : list of int (number of bytes,)
        Each from 0 to 255.
    merges : list of (int, int)
        In the order in which they were learned; the one at index n makes the id 256 + n.

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
# The way back looks simple: join what each token represents. But there is one trap. A token is a sequence of *bytes*,
# and it may hold only a part of a character. So join the bytes first, and decode them as a whole.
#
# What if the bytes end in the middle of a character, because a model stopped there? Then they are not valid UTF-8, and
# Python raises an error. With `errors="replace"`, the incomplete bytes become the sign � instead.
#
# @hint A nudge
# There are two steps: build one long `bytes` object, then call `decode` once.
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
        The bytes of each id.

    Returns
    -------
    str
        Bytes that are not valid UTF-8 become �.
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
# Every text makes the round trip, even the texts with characters that the tokenizer has never seen. They only take more
# tokens: no pair of the Chinese sentence occurs in the stories, so it stays at one token per byte. We have reached the
# first goal: every text can be written.

# %% [markdown]
# ## 6 Where words begin
#
# Here are the longest tokens that your loop has learned:

# %%
for token in sorted(vocab.values(), key=len, reverse=True)[:8]:
    print(repr(token.decode()))

# %% [markdown]
# Some of them continue past the end of a word, into the next word or the punctuation. That wastes the vocabulary. The
# same word with a comma, with a period, and with the beginning of the next word would be three different tokens, and
# what the model learns about one tells it nothing about the others. So GPT-2's tokenizer cuts the text into *chunks*
# first and merges only inside them (Radford et al. 2019, section 2.2). The rule is a regular expression:

# %%
import regex  # like re, but it knows \p{L}: a letter of any script

from numpylm.text.pretokenize import GPT2_PATTERN

print(GPT2_PATTERN, "\n")
print(regex.findall(GPT2_PATTERN, "The fox's two tails weren't 10 cm long!  狐狸 🦊"))

# %% [markdown]
# The bars `|` separate the alternatives: English endings such as `'s`; a run of letters; a run of digits; a run of
# other characters; white space. Note the ` ?` before the runs: **a space belongs to the word that follows it.** If a
# space were a token of its own, every second token of a text would be a space. And decoding needs no rule for spaces:
# joining the bytes is enough.
#
# The drawback is that the same word is two different tokens, one with a space before it and one without. You will see
# both.
#
# ## 7 A tokenizer of 1,024 tokens
#
# `numpylm.Tokenizer` does the same as your code, but with chunks, and fast. It handles each *different* chunk once,
# however often it occurs, and a merge updates the counts instead of counting again (see `numpylm/text/bpe.py`). To
# encode, it looks for the pair that was learned first among those that are left. This gives the same tokens as your
# loop over all merges.

# %%
tokenizer = Tokenizer.train(train, vocab_size=1024)
learned = [
    tokenizer.token_bytes(i).decode() for i in range(256, 1023)
]  # 256 bytes come before, one special token after
print("the first ten:  ", learned[:10])
print("ten in between: ", learned[300:310])
print("the last ten:   ", learned[-10:])
print("the longest:    ", sorted(learned, key=len, reverse=True)[:7])
spaced = sum(token.startswith(" ") for token in learned)
print(f"\n{spaced} of the {len(learned)} learned tokens begin with a space")

# %% [markdown]
# The first tokens are mostly pairs of letters, then come syllables and short words, and at the end mostly whole words.
# A token that begins with a space begins a word. A token without a space is the middle or the end of a word, or it
# occurs at the beginning of a line or a quotation. Now look at how texts are cut. A bar separates tokens:


# %%
def show(text):
    """The text cut into tokens; a token that is not made of whole characters is shown in base 16."""
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
# A story is cut almost exactly into words. The English sentence on another subject is cut into syllables and letters:
# its words are not in the stories, but everything can still be written. Chinese and emoji fall back to single bytes,
# shown in base 16. A text that resembles the tokenizer's training text takes few tokens, and any other text takes many.
# The same is true of the tokenizers of large models. If you pay per token, the same content costs more in a language
# that the tokenizer has seen less often.
#
# Here, the fox emoji is four tokens, so a model can stop in the middle of it:

# %%
fox = tokenizer.encode("🦊")
print("ids of the fox:", fox, "  its bytes:", list("🦊".encode()))
for n in range(1, 5):
    print(f"   the first {n}: {tokenizer.decode(fox[:n])!r}")

# %% [markdown]
# An incomplete fox gives �, without an error, and the fox appears when its last byte arrives. A program that prints a
# model's text while it is being written holds such bytes back until the character is complete
# (`numpylm.inference.generation.stream_text`). Also note that a byte's id is not its value here. GPT-2's files write
# each byte as a visible letter, and the ids follow the order of those letters. It does not matter which number a token
# has, as long as it never changes.

# %% [markdown]
# ## 8 How large should the vocabulary be?
#
# Train tokenizers of several sizes on the same stories. Then measure how many bytes a token holds on average, on three
# texts that are not in the training text. (A vocabulary larger than the last size cannot be learned here, because no
# pair is left that occurs twice.)

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
# On the stories, each doubling of $V$ adds about one byte per token (the first doubling adds a little more), until
# nothing is left to learn. So the same gain needs more and more new tokens. On a text of another kind, more than half
# of the gain comes from the first hundred merges.
#
# A larger $V$ also has a cost: the model has a row of numbers for each token. How large a part of the model is that? We
# look at the bundled model of lesson 00 (it has its own tokenizer, of the same size). We also count how often each
# token that our tokenizer learned occurs in its 0.9 MB of training text.

# %%
gpt, _ = storyteller()
table = gpt.wte.weight.data  # (V, C): a row of C numbers for each token
print(f"table of tokens {table.shape}: {table.size:,} of {gpt.num_parameters():,} parameters")

uses = [0] * tokenizer.vocab_size
for i in tokenizer.encode("".join(train)):
    uses[i] += 1
often = sorted(uses[256:1023], reverse=True)
never = [tokenizer.decode([i]) for i in range(256, 1023) if uses[i] == 0]
print(f"the most frequent learned token occurs {often[0]:,} times, the middle one {often[len(often) // 2]} times")
print(f"{len(never)} never occur, such as {never[54:62]}")

# %% [markdown]
# The table is nearly a quarter of this small model. Most tokens occur often enough for the model to learn them. (In a
# real text, with its many rare words, the middle token would be much rarer.) But some tokens never occur in the very
# text from which they were learned. They were only intermediate steps: first a piece of a word is merged, then the
# piece is merged with the piece next to it, and after that it never occurs alone. The rows of these tokens are wasted.
# Every BPE vocabulary has some of them.
#
# GPT-2 has 50,257 tokens: 256 bytes, 50,000 merges and one special token. That suits a model of 124 million parameters
# or more and 40 GB of text. For a text of a few megabytes, one or two thousand tokens are enough.

# %% [markdown]
# ## 9 Special tokens
#
# So far we have not mentioned one id, the last one. A training text is many documents in one long sequence, and the
# model must know where each document ends. No text should contain this mark by accident, so the token is not made of
# bytes. We add it to the vocabulary by hand.

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
# In training, the model learns two things about `<|endoftext|>`: what comes before it (the end of a document), and what
# comes after it (the beginning of one). So generation *starts* from it, and *stops* when the model draws it. If a text
# contains these letters, they are ordinary text, unless the program allows special tokens. Do not allow them in text
# from strangers: someone who can write special tokens can end your document and begin another one in your name. Chat
# models mark the speaker in the same way.

# %% [markdown]
# ## 10 Why spelling is hard
#
# Suppose you ask a model how many g's there are in *hedgehog*. What does it see?

# %%
for text in ("hedgehog", " hedgehog", " Hedgehog", " hedgehogs", " hedgehg", " h e d g e h o g"):
    print(f"{text!r:20} ids {tokenizer.encode(text)!s:40} {show(text)}")

# %% [markdown]
# The word, as it occurs in the stories, is one id. Nothing in that number says that the word has eight letters, or that
# two of them are g's. The plural happens to begin with the same id. The capitalized form, the misspelling and the word
# without a space do not, so the model cannot see that they are related. A model learns spelling only as it learns
# everything else, from its training text. The same is true of arithmetic: how a number is cut into tokens depends on
# which digits often occurred together, and not on its value.
#
# When a model makes mistakes with letters, rhymes or digits, look at its tokens first: `numpylm tokenize
# data/storyteller "text"` shows them.

# %% [markdown]
# ## What you can do now
#
# - say what a model sees when it reads a text, and what $V$ and $T$ are;
# - read UTF-8 byte by byte;
# - write byte-pair encoding: count, merge, encode, decode;
# - choose the size of a vocabulary, and say what a special token is for.
#
# ## 小结
#
# 模型看不到文字，只看到编号。文字先变成 UTF-8 字节（一个汉字通常占三个字节），再由字节对编码（BPE）合并成词元：反复找出最常见的相邻一对，
# 把它并成一个新的符号。词表越大，文章的词元越少，但每个词元出现的次数也越少。特殊词元用来标记文章的结束，它不是普通的文字。
#
# ## Three questions
#
# @answer Why do we apply merges in the order in which they were learned, and not the longest token first?
# Because the model was trained on texts that were cut that way. With the longest token first, the pieces would also be
# in the vocabulary, and decoding would give the same text. But the model would meet sequences of ids that it has rarely
# or never seen. The same text must always be cut in the same way.
# @answer A tokenizer was trained on English. Which texts can it not encode? And what will you notice on Japanese?
# It can encode every text, since all 256 bytes are in its vocabulary. Japanese takes about three tokens per character.
# So fewer characters fit into the model's context, each character takes more time, and the model must spell each one
# from bytes.
# @answer You decode each new token by itself and print it at once. What goes wrong, and when?
# Nothing goes wrong as long as every token consists of whole characters, as in English. But when a character is spread
# over several tokens, each part alone is not valid UTF-8, so you print � several times, or get an error. Join the bytes
# first, and hold back the bytes at the end that do not yet make a whole character.
# @end
