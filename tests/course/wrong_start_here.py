"""Wrong answers to lesson 00: changes to the solution, and what the check must say about each."""

WRONG = {
    "square_backward": [
        ("dout * 2 * x", "dout", "slope"),
        ("dout * 2 * x", "2 * x", "upstream gradient"),
        ("dout * 2 * x", "dout * x", "1/2"),
        ("return dout * 2 * x", "dout * 2 * x", "no gradient"),
        (
            "return dout * 2 * x",
            "return [dout[i] * 2 * x[i] for i in range(len(x))]",
            "returned a list; return one array",
        ),
        ("return dout * 2 * x", "x *= 2\n    return dout * x", "writes into its cache"),
        ("x = cache", "x, _ = cache", "too many values to unpack"),
    ],
}
