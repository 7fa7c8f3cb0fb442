"""Score a run of ``--task poems`` on the test quatrains of `benchmarks.split_poems`, and show five of its poems.

python -m benchmarks.split_poems ../shared/data/tang_poems tang
python -m benchmarks.tang_poems runs/quatrains tang
"""

import sys
from pathlib import Path

from numpylm.files.checkpoint import load_run
from numpylm.tasks.poem_baselines import CharacterModels
from numpylm.tasks.poem_report import TrainingPoems, report_on
from numpylm.tasks.poem_rows import RareCharacters
from numpylm.text.poem import read_poems

SHOWN = 5


def main() -> None:
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    model, tokenizer, _ = load_run(run)
    poems, quatrains, test = (read_poems([str(folder / f"{name}.tsv")]) for name in ("poems", "quatrains", "test"))
    for name, train in (("quatrains", quatrains), ("all regular poems", poems)):
        rare = RareCharacters.of(tokenizer, train, test)
        unigram, bigram = CharacterModels(tokenizer, train, rare.count).nats(test)
        print(f"baselines   on {name}: {unigram:.4f} single characters, {bigram:.4f} pairs, Kneser-Ney")
    judge = TrainingPoems(quatrains)
    whole = TrainingPoems(poems)
    judge.rhymes, judge.lines = whole.rhymes, whole.lines  # long poems have more rhymes; a quatrain has one pair
    report = report_on(model, tokenizer, judge, test, rare, written=len(test))
    print(report)
    for poem in report.written[:SHOWN]:
        print(f"  {poem.theme}: {' / '.join(poem.lines)}")


if __name__ == "__main__":
    main()
