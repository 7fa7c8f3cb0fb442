"""Wrong answers to lesson 15: changes to the solution, and what the check must say about each."""

WRONG = {
    "padding_mask": [
        ("return real[:, None, None, :]", "return real[:, None, None, :].astype(float)", "True and False"),
        ("[:, None, None, :]", "[:, None, None, ::-1]", "at the end"),
        ("np.arange(S) < lengths[:, None]", "np.arange(S) >= lengths[:, None]", "here it stands for padding"),
        ("np.arange(S) < lengths", "np.arange(S) <= lengths", "one token of padding"),
        ("real[:, None, None, :]", "real", "two axes of length 1"),
        ("real[:, None, None, :]", "real[:, None, :, None]", "in the wrong places"),
    ],
    "CrossAttention": [
        (" + self.v_proj.backward(merge_heads(dv), v_cache)", "", "v_proj"),
        ("self.v_proj.forward(memory)", "self.k_proj.forward(memory)", "output"),
        ("(*heads, mask)", "(*heads)", "Is mask passed on"),
        ("(q, k, v)]", "(k, q, v)]", "mismatch"),
        ("self.q_proj.backward(merge_heads(dq), q_cache), dmemory", "dmemory, dmemory", "x"),
    ],
    "smoothed_cross_entropy": [
        ("np.exp(log_p) - q", "q - np.exp(log_p)", "the sign"),
        ("np.exp(log_p) - q", "np.exp(log_p)", "q is missing"),
        ("np.exp(log_p) - q", "np.exp(log_p) - np.eye(len(z))[y]", "without smoothing"),
        ("epsilon / len(z)", "epsilon / (len(z) - 1)", "sum to more than 1"),
        ("z - z.max()", "z", "NaN or infinity"),
    ],
    "beam_search": [
        ("ids[-1] == end or len(ids) == longest", "ids[-1] == end", "longer than `longest`"),
        ("if len(beam) == K", "if len(beam) == 1", "greedy"),
        ("in continuations:", "in continuations[:K]:", "takes no place in the beam"),
        (" / len(ids) ** alpha", "", "divide log P"),
        ("-pair[1])", "pair[1])", "expected"),
        ("log_p + lp", "lp", "expected"),
    ],
    "bleu": [
        ("(found & allowed)", "Counter({g: c for g, c in found.items() if g in allowed})", "clipping"),
        ("1.0 if c >= r else math.exp(1 - r / c)", "1.0", "brevity penalty"),
        ("100 * brevity", "brevity", "from 0 to 100"),
        ("range(1, 5)", "range(1, 4)", "bleu"),
    ],
}
