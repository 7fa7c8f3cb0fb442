"""A student's file may import modules beside it, from its package, and from folders that it puts on the path."""

import sys
import textwrap

from numpylm.cli.main import main


def test_a_file_may_import_its_neighbor_and_print(write, tmp_path, capsys):
    (tmp_path / "helper_of_mine.py").write_text("TWO = 2\n", encoding="utf-8")
    path = write(
        "from helper_of_mine import TWO\nprint('noise')\n"
        "def f(x):\n    return TWO * x, x\n\ndef f_backward(d, x):\n    return TWO * d\n"
    )
    assert main(["gradcheck", "--file", str(path)]) == 0
    assert "noise" not in capsys.readouterr().out


def test_modules_of_a_package_are_found(tmp_path):
    package = tmp_path / "my_package"
    package.mkdir()
    for name, text in (("__init__", ""), ("numbers_of_mine", "TWO = 2\n")):
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    code = """
        from .numbers_of_mine import TWO

        def f(x):
            from my_package import numbers_of_mine
            return numbers_of_mine.TWO * x, None

        def f_backward(d, cache):
            return TWO * d
    """
    file = package / "layers.py"
    file.write_text(textwrap.dedent(code), encoding="utf-8")
    assert main(["gradcheck", "--file", str(file)]) == 0


def test_a_folder_that_the_file_itself_puts_on_the_path_stays_there(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "hammer_of_mine.py").write_text("TWO = 2\n", encoding="utf-8")
    code = """
        import sys
        from pathlib import Path

        sys.path.append(str(Path(__file__).parent / "tools"))

        def f(x):
            from hammer_of_mine import TWO
            return TWO * x, None

        def f_backward(d, cache):
            return 2 * d
    """
    before = list(sys.path)
    assert main(["gradcheck", "--file", str(write(code))]) == 0
    assert sys.path == [*before, str(tmp_path / "tools")]


def test_a_module_that_forward_imports_is_found_with_as_too(write, tmp_path):
    (tmp_path / "roots_of_mine.py").write_text("def root(x):\n    return x**0.5\n", encoding="utf-8")
    code = """
        class LayerNorm:
            def __init__(self, dim):
                self.weight, self.bias = Parameter(np.ones(dim)), Parameter(np.zeros(dim))

            def forward(self, x):
                from roots_of_mine import root
                s = root(x.var(-1, keepdims=True) + 1e-5)
                h = (x - x.mean(-1, keepdims=True)) / s
                return h * self.weight.data + self.bias.data, (h, s)

            def backward(self, d, cache):
                h, s = cache
                self.weight.grad += (d * h).sum((0, 1))
                self.bias.grad += d.sum((0, 1))
                g = d * self.weight.data
                return (g - g.mean(-1, keepdims=True) - h * (g * h).mean(-1, keepdims=True)) / s
    """
    path = str(write(code))
    assert main(["gradcheck", "--file", path]) == 0
    assert main(["gradcheck", "--file", path, "--as", "LayerNorm"]) == 0
