"""Wrong answers to lesson 03: changes to the solution, and what the check must say about each."""

WRONG = {
    "numerical_gradient": [
        ("x[i] = value - h\n    ", "x[i] = value\n    ", "half the gradient"),
        ("(2 * h)", "h", "divide by 2 * h"),
        ("(2 * h)", "2 * h", "write / (2 * h)"),
        (
            "gradient[i] = (up - down) / (2 * h)",
            "gradient[i] = (up - down) / (2 * h)\n        return gradient",
            "inside the loop",
        ),
        ("np.ndindex(x.shape)", "range(len(x))", "whole rows"),
        ("up - down", "down - up", "the sign is wrong"),
        ("        x[i] = value\n", "", "not restored"),
        ("np.array(x, dtype=np.float64)", "x.copy()", "truncated to a whole number"),
        ("np.zeros(x.shape)", "np.zeros(x.shape)\n    h = 1e-5", "the step is not the h"),
        ("    return gradient", "    pass", "Is the return missing?"),
    ],
    "relative_error": [
        ("return np.inf", "return 0.0", "expected inf"),
        (".max())", ".min())", "look at line"),
        (
            "return float((np.abs(a - n) / np.maximum(size, floor)).max())",
            "return float(np.abs(a - n).max())",
            "absolute",
        ),
        ("floor)).max())", "floor)).mean())", "Take the largest"),
        ("np.maximum(size, floor)", "np.abs(n)", "divided by |n| alone"),
        ("np.maximum(size, floor)", "(np.abs(a) + np.abs(n))", "divided by the sum"),
        ("np.maximum(size, floor)", "size", "the floor is missing"),
        ("float((np.abs(a - n) / np.maximum(size, floor)).max())", "np.abs(a - n) / np.maximum(size, floor)", "of it"),
        ("1e-4 * size.max()", "1e-4 * max(a.max(), n.max())", "np.abs first"),
        (
            "(np.abs(a - n) / np.maximum(size, floor)).max()",
            "np.abs(a - n).max() / max(size.max(), floor)",
            "Divide each by its own size",
        ),
        ("floor = max(1e-4 * size.max(), 1e-250)", "floor = 1e-8", "a fixed number"),
        ("max(1e-4 * size.max(), 1e-250)", "1e-4 * size.max()", "at least 1e-250"),
        ("(np.abs(a - n) /", "((a - n) /", "keep their sign"),
    ],
    "gradcheck": [
        ("rng.standard_normal(np.shape(out))", "np.ones(np.shape(out))", "Draw dout at random"),
        ("np.sum(dout * f(x)[0])", "np.sum(f(x)[0])", "without dout"),
        ("f_backward(dout, cache)", "f_backward(np.ones(np.shape(out)), cache)", "the same dout"),
        ("return relative_error(dx, n)", "return float(np.abs(dx - n).max())", "return the relative error"),
        ("return relative_error(dx, n)", "return relative_error(dx, n) < 1e-6", "must return one number"),
        ("return relative_error(dx, n)", "relative_error(dx, n)", "Is the return missing?"),
        (
            "rng.standard_normal(np.shape(out))",
            "rng.standard_normal(x.shape)",
            "dout must have the shape of the output",
        ),
        ("np.sum(dout *", "np.sum(rng.standard_normal(np.shape(out)) *", "with the same dout"),
        ("return relative_error(dx, n)", "return relative_error(dx[:1], n[:1])", "Compare every element"),
    ],
}
