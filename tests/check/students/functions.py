"""Functions of students, with sizes, options and names of all kinds."""

from typing import NamedTuple

import numpy as np

EPS = 1e-5
TABLE = np.random.default_rng(3).standard_normal((40, 12))


class LNCache(NamedTuple):
    xhat: np.ndarray
    std: np.ndarray


def conv_bias_like_forward(x, w, b, stride=1, pad=1):
    """db starts as zeros_like(b) and adds a vector of F."""
    N, C, H, W = x.shape
    F, _, k, _ = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((N, F, (H + 2 * pad - k) // stride + 1, (W + 2 * pad - k) // stride + 1))
    for f in range(F):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                out[:, f, i, j] = (xp[:, :, i * stride : i * stride + k, j * stride : j * stride + k] * w[f]).sum(
                    (1, 2, 3)
                )
        out[:, f] += b[f]
    return out, (xp, w, b, stride, pad)


def conv_bias_like_backward(dout, cache):
    xp, w, b, stride, pad = cache
    k = w.shape[-1]
    dxp, dw, db = np.zeros_like(xp), np.zeros_like(w), np.zeros_like(b)
    db += dout.sum(axis=(0, 2, 3))
    for f in range(len(w)):
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                d = dout[:, f, i, j].reshape(-1, 1, 1, 1)
                s = np.s_[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
                dw[f] += (d * xp[s]).sum(0)
                dxp[s] += d * w[f]
    return dxp[:, :, pad:-pad, pad:-pad], dw, db


def rnn_loops_forward(x, h0, Wx, Wh, b):
    """One unit after the other: b[j] and Wh[k, j] take anything that is long enough."""
    N, D = x.shape
    H = Wx.shape[1]
    a = np.zeros((N, H))
    for j in range(H):
        a[:, j] = x @ Wx[:, j] + b[j]
        for k in range(H):
            a[:, j] += h0[:, k] * Wh[k, j]
    h = np.tanh(a)
    return h, (x, h0, Wx, Wh, h)


def rnn_loops_backward(dh, cache):
    x, h0, Wx, Wh, h = cache
    H = Wx.shape[1]
    da = dh * (1 - h**2)
    return da @ Wx.T, da @ Wh[:H, :H].T, x.T @ da, h0[:, :H].T @ da, da.sum(0)


def norm_namedtuple_forward(x, gamma, beta):
    std = np.sqrt(x.var(-1, keepdims=True) + EPS)
    xhat = (x - x.mean(-1, keepdims=True)) / std
    return xhat * gamma + beta, (LNCache(xhat, std), gamma)


def norm_namedtuple_backward(dout, cache):
    c, gamma = cache
    g = dout * gamma
    dx = (g - g.mean(-1, keepdims=True) - c.xhat * (g * c.xhat).mean(-1, keepdims=True)) / c.std
    axes = tuple(range(dout.ndim - 1))
    return dx, (dout * c.xhat).sum(axes), dout.sum(axes)


def batchnorm_running_forward(x, gamma, beta, running_mean, running_var, momentum=0.9, training=True):
    if training:
        mu, var = x.mean(0), x.var(0)
        running_mean[:] = momentum * running_mean + (1 - momentum) * mu
        running_var[:] = momentum * running_var + (1 - momentum) * var
    else:
        mu, var = running_mean, running_var
    std = np.sqrt(var + EPS)
    xhat = (x - mu) / std
    return gamma * xhat + beta, (xhat, std, gamma)


def batchnorm_running_backward(dout, cache):
    xhat, std, gamma = cache
    N = len(dout)
    g = dout * gamma
    dx = (1 / N) / std * (N * g - g.sum(axis=0) - xhat * np.sum(g * xhat, axis=0))
    return dx, np.sum(dout * xhat, 0), np.sum(dout, 0)


def masked_attention_forward(q, k, v, mask):
    s = np.einsum("...id,...jd->...ij", q, k) / np.sqrt(q.shape[-1])
    s = np.where(mask, s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("...ij,...jd->...id", p, v), (q, k, v, p)


def masked_attention_backward(d, cache):
    q, k, v, p = cache
    dp = np.einsum("...id,...jd->...ij", d, v)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return (
        np.einsum("...ij,...jd->...id", ds, k),
        np.einsum("...ij,...id->...jd", ds, q),
        np.einsum("...ij,...id->...jd", p, d),
        None,
    )


def positional_forward(x, pos):
    """A table longer than the sequence."""
    T = x.shape[1]
    return x + pos[:T], (T, pos.shape)


def positional_backward(dout, cache):
    T, shape = cache
    dpos = np.zeros(shape)
    dpos[:T] = dout.sum(axis=0)
    return dout, dpos


def lookup_forward(idx, table):
    return table[idx], (idx, table.shape)


def lookup_backward(dout, cache):
    idx, shape = cache
    dtable = np.zeros(shape)
    for i, row in zip(idx.ravel(), dout.reshape(-1, shape[1])):
        dtable[i] += row
    return dtable


def fixed_table_forward(x):
    """Adds a constant of the module."""
    return x + TABLE[: x.shape[-2], : x.shape[-1]], None


def fixed_table_backward(dout, cache):
    return dout


def bilinear_forward(x1, x2, W, b):
    out = np.einsum("ni,oij,nj->no", x1, W, x2) + b
    return out, (x1, x2, W)


def bilinear_backward(d, cache):
    x1, x2, W = cache
    return (
        np.einsum("no,oij,nj->ni", d, W, x2),
        np.einsum("no,oij,ni->nj", d, W, x1),
        np.einsum("no,ni,nj->oij", d, x1, x2),
        d.sum(0),
    )


def bilinear_example(rng):
    return (
        rng.standard_normal((4, 3)),
        rng.standard_normal((4, 5)),
        rng.standard_normal((2, 3, 5)),
        rng.standard_normal(2),
    )


def scale_by_number_forward(x, alpha):
    return alpha * x, (x, alpha)


def scale_by_number_backward(d, cache):
    x, alpha = cache
    return d * alpha, (d * x).sum()


def prelu_forward(x, a):
    return np.where(x > 0, x, a * x), (x, a)


def prelu_backward(d, cache):
    x, a = cache
    return np.where(x > 0, d, a * d), np.sum(d * np.minimum(0, x))


def mse_loss(pred, target):
    diff = pred - target
    return np.mean(diff**2), 2 * diff / diff.size


def gather_forward(x, idx):
    return np.take_along_axis(x, idx[..., None] % x.shape[-1], axis=-1), (x.shape, idx)


def gather_backward(d, cache):
    shape, idx = cache
    dx = np.zeros(shape)
    np.put_along_axis(dx, idx[..., None] % shape[-1], d, axis=-1)
    return dx


def sort_forward(x):
    order = np.argsort(x, axis=-1)
    return np.take_along_axis(x, order, -1), order


def sort_backward(d, order):
    dx = np.empty_like(d)
    np.put_along_axis(dx, order, d, -1)
    return dx


def gru_step_forward(x, h, Wx, Wh, b):
    H = h.shape[1]
    gx, gh = x @ Wx + b, h @ Wh
    s = 1 / (1 + np.exp(-(gx[:, : 2 * H] + gh[:, : 2 * H])))
    z, r = s[:, :H], s[:, H:]
    n = np.tanh(gx[:, 2 * H :] + r * gh[:, 2 * H :])
    return (1 - z) * n + z * h, (x, h, Wx, Wh, z, r, n, gh[:, 2 * H :])


def gru_step_backward(d, cache):
    x, h, Wx, Wh, z, r, n, hn = cache
    dn = d * (1 - z) * (1 - n * n)
    dz, dr = d * (h - n) * z * (1 - z), dn * hn * r * (1 - r)
    dgx, dgh = np.hstack([dz, dr, dn]), np.hstack([dz, dr, dn * r])
    return dgx @ Wx.T, d * z + dgh @ Wh.T, x.T @ dgx, h.T @ dgh, dgx.sum(0)
