"""The small changes that `one_change` tries: each replaces, removes or adds one thing in the code of a function."""

import ast
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.FloorDiv, ast.MatMult)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
RELATED = (  # functions that are taken for each other
    ("sum", "mean", "max", "min", "prod", "std"),
    ("log", "log2", "log10", "exp", "log1p"),
    ("sqrt", "exp", "log", "abs", "square"),
    ("maximum", "minimum", "add", "multiply"),
    ("argmax", "argmin"),
    ("sin", "cos", "tanh"),
    ("max", "min", "sum"),
    ("zeros_like", "ones_like", "copy"),
    ("zeros", "ones"),
    ("repeat", "tile"),
    ("outer", "dot"),
    ("floor", "ceil", "round", "int", "float"),
    ("random", "standard_normal"),
)
WRAPS = (
    ("-({})", "its sign"),
    ("np.sqrt({})", "a root is missing"),
    ("np.exp({})", "an exp is missing"),
    ("np.log({})", "a logarithm is missing"),
    ("np.log2({})", "a logarithm is missing"),
    ("({}) ** 2", "a square is missing"),
    ("1 - ({})", "it must be subtracted from 1"),
    ("1 / ({})", "one divided by it is needed"),
    ("2 * ({})", "a factor 2 is missing or wrong"),
    ("({}) / 2", "a factor 2 is missing or wrong"),
    ("({}) + 1", "it is off by one"),
    ("({}) - 1", "it is off by one"),
    ("({}) / ({}).sum()", "it must be divided by its sum"),
    ("({})[0]", "only its first part is needed"),
    ("({})[::-1]", "its order is reversed"),
    ("({}).swapaxes(-1, -2)", "its last two axes must be exchanged"),
    ("({}).T", "it must be transposed"),
    ("np.sum({})", "a sum is missing"),
    ("np.mean({})", "a mean is missing"),
    ("({}).sum(axis=0)", "a sum is missing"),
    ("({}).sum(axis=-1)", "a sum is missing"),
    ("({}).sum(axis=-1, keepdims=True)", "a sum is missing"),
    ("({}).mean(axis=0)", "a mean is missing"),
    ("({}).mean(axis=-1, keepdims=True)", "a mean is missing"),
    ("({}).copy()", "a copy is needed"),
    ("tuple({})", "a tuple is needed"),
    ("list({})", "a list is needed"),
    ("np.array({})", "an array is needed"),
)
TWO = (("({}) * ({})", "factor"), ("({}) / ({})", "divisor"), ("({}) - ({})", "term"), ("({}) + ({})", "term"))
MOST_NAMES = 12  # more would make the search too long


@dataclass(frozen=True)
class Edit:
    """One change: ``new`` in the field of ``parent`` in which ``old`` stands now."""

    parent: ast.AST
    field: str
    index: int | None
    new: Any
    at: Any
    kind: str

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """The tree with this change, for the length of a with statement."""
        holder: Any = getattr(self.parent, self.field)
        if self.index is None:
            setattr(self.parent, self.field, self.new)
        else:
            setattr(self.parent, self.field, [*holder[: self.index], self.new, *holder[self.index + 1 :]])
        try:
            yield
        finally:
            setattr(self.parent, self.field, holder)


def edits(function: ast.FunctionDef) -> Iterator[Edit]:
    """All changes of a function, the likeliest first. Its docstring, arguments and name stay."""
    statements = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    places = [place for statement in statements for place in _places(function, "body", statement)]
    names = _names(function)
    own = [place for place in places if ast.unparse(place[3]).startswith("self.")]
    yield from _each(own, lambda node: _renamed(node, names))
    yield from _each(places, _simple)
    yield from _each(places, lambda node: _renamed(node, names))
    yield from _each(places, _wrapped)
    yield from _statements(function)
    yield from _each(places, lambda node: _joined(node, names))


def _places(parent: ast.AST, field: str, child: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """A node and all nodes inside it, each with its parent, the field there, and the index if the field is a list."""
    holder = getattr(parent, field)
    index = next((i for i, node in enumerate(holder) if node is child), None) if isinstance(holder, list) else None
    yield parent, field, index, child
    for name, value in ast.iter_fields(child):
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield from _places(child, name, node)


def _each(places: list, change: Any) -> Iterator[Edit]:
    """The changes of every place that a function ``node -> (new node, kind)`` proposes."""
    for parent, field, index, node in places:
        if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)) and not isinstance(node, ast.Tuple):
            continue
        at = node if hasattr(node, "lineno") else parent
        for new, kind in change(node):
            if isinstance(new, ast.expr) and not hasattr(new, "lineno"):
                ast.copy_location(new, at)
            yield Edit(parent, field, index, new, at, kind)


def _names(function: ast.FunctionDef) -> list[str]:
    """The arguments and variables of a function, and the attributes of self that it reads."""
    names = [a.arg for a in [*function.args.args, *function.args.kwonlyargs] if a.arg != "self"]
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            names.append(f"self.{node.attr}")
    names = list(dict.fromkeys(names))
    plain = [name for name in names if not name.startswith("self.")]
    return plain[:MOST_NAMES] + [name for name in names if name not in plain][:MOST_NAMES]


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


# ------------------------------------------------------------------------------- what is tried at a place


def _simple(node: ast.AST) -> Iterator[tuple[Any, str]]:
    """Another operator, comparison, number, function, order, axis or slice; or a part left out."""
    kind = type(node).__name__
    changes: dict[str, Callable[[Any], Any]] = {
        "BinOp": _of_operation,
        "UnaryOp": lambda n: [(n.operand, "its sign")],
        "Compare": _of_comparison,
        "BoolOp": lambda n: [(value, "one of the conditions is wrong") for value in n.values] + _other_bool(n),
        "Constant": _of_constant,
        "Call": _of_call,
        "Attribute": _of_attribute,
        "Tuple": _of_tuple,
        "Slice": _of_slice,
        "Subscript": lambda n: [(n.value, "is the index needed?")] if isinstance(n.ctx, ast.Load) else [],
        "IfExp": lambda n: [(n.body, "the condition"), (n.orelse, "the condition"), _turned(n)],
        "If": _of_if,
        "comprehension": lambda n: [(_copy(n, ifs=[]), "the condition is wrong")] if n.ifs else [],
        "AugAssign": _of_augmented,
        "Assign": lambda n: [
            (_copy_as(ast.AugAssign, n, target=n.targets[0], op=op(), value=n.value), "= is wrong: something is added")
            for op in (ast.Add, ast.Sub, ast.Mult)
            if isinstance(n.targets[0], (ast.Name, ast.Attribute, ast.Subscript))
        ],
        "Expr": lambda n: [
            (_copy_as(ast.Return, n, value=n.value), "the return is missing"),
            *(
                (_copy_as(ast.Assign, n, targets=[ast.Name(name.id, ast.Store())], value=n.value), "it is not kept")
                for name in ast.walk(n.value)
                if isinstance(name, ast.Name)
            ),
        ],
    }
    yield from changes[kind](node) if kind in changes else ()


def _copy(node: Any, /, **changes: Any) -> Any:
    """A node with some fields changed."""
    return _copy_as(type(node), node, **(dict(ast.iter_fields(node)) | changes))


def _copy_as(into: Any, node: ast.AST, /, **fields: Any) -> Any:
    return ast.copy_location(into(**fields), node)


def _of_operation(node: ast.BinOp) -> Iterator[tuple[Any, str]]:
    for operator in OPERATORS:
        if not isinstance(node.op, operator):
            sign = {type(node.op), operator} == {ast.Add, ast.Sub}
            yield _copy(node, op=operator()), "the sign between the two" if sign else "another operation is needed"
    if not isinstance(node.op, (ast.Add, ast.Mult)):
        yield _copy(node, left=node.right, right=node.left), "the order of the two"
    for part in (node.left, node.right):
        other = node.right if part is node.left else node.left
        yield part, f"is `{ast.unparse(other)}` needed?"
    if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.BinOp):  # a b**c where a b c stands
        yield _copy(node.left, right=ast.BinOp(node.left.right, ast.Pow(), node.right)), "a power is needed"
    for value in (node.left, node.right):  # a (b + c) where (a b) + c stands, and the like
        if isinstance(value, ast.BinOp) and value is node.left:
            inner = _copy(node, left=value.right)
            yield _copy(value, right=inner), "parentheses"
        elif isinstance(value, ast.BinOp):
            inner = _copy(node, right=value.left)
            yield _copy(value, left=inner), "parentheses"


def _of_comparison(node: ast.Compare) -> Iterator[tuple[Any, str]]:
    if len(node.ops) == 1:
        for operator in COMPARISONS:
            if not isinstance(node.ops[0], operator):
                yield _copy(node, ops=[operator()]), "another comparison is needed"


def _other_bool(node: ast.BoolOp) -> list[tuple[Any, str]]:
    return [(_copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()), "and, or?")]


def _turned(node: ast.IfExp) -> tuple[Any, str]:
    return _copy(node, body=node.orelse, orelse=node.body), "the two cases are exchanged"


def _of_constant(node: ast.Constant) -> Iterator[tuple[Any, str]]:
    if isinstance(node.value, bool):
        yield _copy(node, value=not node.value), "True and False"
    elif isinstance(node.value, (int, float)):
        numbers = (node.value + 1, node.value - 1, -node.value, 0, 1, 2, 3, 4, node.value / 2, node.value * 2)
        for value in dict.fromkeys((*numbers, 0.5, 8, 100, -100, 1e-10)):
            if value != node.value:
                yield _copy(node, value=value), "another number is needed"
        yield _copy(node, value=None), "is the number needed?"
    elif node.value is None:
        yield _parse("-1"), "a number is needed"


def _of_call(node: ast.Call) -> Iterator[tuple[Any, str]]:
    for i, keyword in enumerate(node.keywords):
        without = [k for k in node.keywords if k is not keyword]
        if keyword.arg == "axis":
            for axis in ("-1", "0", "1", "2", "-2", "(0, 1)"):
                axes = [*node.keywords[:i], ast.keyword("axis", _parse(axis)), *node.keywords[i + 1 :]]
                if ast.unparse(keyword.value) != axis:
                    yield _copy(node, keywords=axes), "another axis is needed"
        yield _copy(node, keywords=without), f"is `{ast.unparse(keyword)}` needed?"
    named = {keyword.arg for keyword in node.keywords}
    if "axis" in named and "keepdims" not in named:
        yield _copy(node, keywords=[*node.keywords, ast.keyword("keepdims", _parse("True"))]), "the axis must be kept"
    if getattr(node.func, "attr", "") in ("sum", "mean", "max", "min") and "axis" not in named:
        for text in ("axis=-1", "axis=0", "axis=1", "axis=-1, keepdims=True"):
            yield _copy(node, keywords=_parse(f"f({text})").keywords), "the axis is missing"  # type: ignore[attr-defined]
    for i, j in itertools.combinations(range(len(node.args)), 2):
        args = list(node.args)
        args[i], args[j] = args[j], args[i]
        yield _copy(node, args=args), "the order of the arguments"
    for arg in node.args:
        if not isinstance(arg, (ast.GeneratorExp, ast.Starred)):
            yield arg, f"is `{ast.unparse(node.func)}` needed?"
    if isinstance(node.func, ast.Attribute):
        yield node.func.value, f"is `.{node.func.attr}` needed?"
    if isinstance(node.func, ast.Name):
        for group in RELATED:
            if node.func.id in group:
                yield from ((_copy(node, func=ast.Name(n, ast.Load())), "another function is needed") for n in group)


def _of_attribute(node: ast.Attribute) -> Iterator[tuple[Any, str]]:
    for group in RELATED:
        if node.attr in group:
            for name in group:
                if name != node.attr:
                    yield _copy(node, attr=name), "another function is needed"
    if (isinstance(node.value, ast.Name) and node.value.id not in ("np", "math", "self")) or node.attr in (
        "T",
        "data",
        "shape",
    ):
        yield node.value, f"is `.{node.attr}` needed?"
    if {"data": "grad", "grad": "data"}.get(node.attr):
        yield _copy(node, attr={"data": "grad", "grad": "data"}[node.attr]), "data or grad?"


def _of_tuple(node: ast.Tuple) -> Iterator[tuple[Any, str]]:
    if 2 <= len(node.elts) <= 4:
        for order in itertools.permutations(node.elts):
            if list(order) != node.elts:
                yield _copy(node, elts=list(order)), "the order"
    if len(node.elts) == 2:
        for part in node.elts:
            yield part, "one of the two is too much"


def _of_slice(node: ast.Slice) -> Iterator[tuple[Any, str]]:
    for field in ("lower", "upper", "step"):
        old = getattr(node, field)
        options = ["None", "1", "-1", "2", "-2"] if old is None else ["None", f"({ast.unparse(old)}) + 1"]
        options += [] if old is None else [f"({ast.unparse(old)}) - 1", f"-({ast.unparse(old)})"]
        for text in options:
            yield _copy(node, **{field: None if text == "None" else _parse(text)}), "where the slice begins or ends"
    if node.lower is not None or node.upper is not None:
        yield _copy(node, lower=node.upper, upper=node.lower), "where the slice begins or ends"


def _of_if(node: ast.If) -> Iterator[tuple[Any, str]]:
    yield _copy(node, test=_parse(f"not ({ast.unparse(node.test)})")), "the condition is the wrong way round"
    yield _copy(node, test=_parse("True")), "the condition is wrong"
    yield _copy(node, test=_parse("False")), "the condition is wrong"


def _of_augmented(node: ast.AugAssign) -> Iterator[tuple[Any, str]]:
    for operator in (ast.Add, ast.Sub, ast.Mult, ast.Div):
        if not isinstance(node.op, operator):
            yield _copy(node, op=operator()), "another operation is needed"
    yield _copy_as(ast.Assign, node, targets=[node.target], value=node.value), "is something added here?"


def _renamed(node: ast.AST, names: list[str]) -> Iterator[tuple[Any, str]]:
    """Another variable in place of one, and another attribute of self."""
    plain = isinstance(node, ast.Name)
    if plain or (isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self"):
        own = ast.unparse(node)
        for name in names:
            if name != own and all((part in name) == (part in own) for part in ("self.", "cache")):
                yield _parse(name), "another name is needed"
        if plain:
            yield from ((_parse(f"len({name})"), "a length is needed") for name in names[:4])
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield from ((_parse(name), "a name is needed in place of the number") for name in names if "cache" not in name)


def _wrapped(node: ast.AST) -> Iterator[tuple[Any, str]]:
    """Something around an expression: a minus, a root, a sum."""
    if isinstance(node, ast.expr) and not isinstance(node, (ast.Constant, ast.Starred, ast.Slice)):
        text = ast.unparse(node)
        if text in ("np", "math", "self"):
            return
        for pattern, kind in WRAPS:
            with contextlib.suppress(SyntaxError):
                yield _parse(pattern.replace("{}", text)), kind


def _joined(node: ast.AST, names: list[str]) -> Iterator[tuple[Any, str]]:
    """A factor, divisor or term that is missing, made of one of the function's names."""
    number = isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    if not number and not isinstance(node, (ast.BinOp, ast.Call, ast.Name, ast.Subscript)):
        return
    text = ast.unparse(node)
    names = [f"{name}.data" if name.startswith("self.") else name for name in names if "cache" not in name]
    lengths = [pattern.format(name) for name in names[:4] for pattern in ("len({})", "{}.shape[-1]")]
    for name in [*names, *lengths]:
        for pattern, kind in TWO:
            with contextlib.suppress(SyntaxError):
                yield _parse(pattern.format(text, name)), f"a {kind} is missing or wrong"


def _statements(function: ast.FunctionDef) -> Iterator[Edit]:
    """A statement that is too much, or in the wrong place."""
    for block in ast.walk(function):
        body = getattr(block, "body", None)
        if not isinstance(body, list):
            continue
        for i, statement in enumerate(body):
            if not isinstance(statement, (ast.Return, ast.FunctionDef)):
                yield Edit(block, "body", i, ast.copy_location(ast.Pass(), statement), statement, "is it needed?")
            if i + 1 < len(body):
                pair = ast.copy_location(ast.If(ast.Constant(True), [body[i + 1], statement], []), statement)
                rest = [*body[:i], pair, *body[i + 2 :]]
                yield Edit(block, "body", None, rest, statement, "the order of this line and the next one")
        last = body[-1]
        if isinstance(last, ast.Return) and isinstance(block, (ast.For, ast.While)):
            yield Edit(function, "body", None, _moved_out(function, block, last), last, "it stands inside the loop")


def _moved_out(function: ast.FunctionDef, loop: Any, last: ast.stmt) -> list[ast.stmt]:
    """The body of a function with the return at the end of a loop moved behind it."""
    shorter = _copy(loop, body=[*loop.body[:-1], ast.copy_location(ast.Pass(), last)])
    return [x for statement in function.body for x in ([shorter, last] if statement is loop else [statement])]
