"""Tolerances, step sizes, and limits on time and memory: from which size on a number counts, each with its reason."""

# --------------------------------------------------------- when two numbers are the same, as a share of the largest one

SAME_DIGITS = 1e-9  # two outputs or paths in float64
SAME_ROUGHLY = 1e-6  # two paths where an optimizer computes in float32
SAME_NORM = 1e-5  # two clipped gradients: many add 1e-6 to the norm
FIT = 1e-5  # two gradients, one of which comes from differences
RIGHT_ERROR = 1e-4  # a gradient in an experiment, measured at a few places: a real fault is far above
CURED_ERROR = 1e-2  # an experiment must shrink an error this much: else a small fault only became smaller
CURED_ENTRIES = 0.8  # a proof must leave at most this share of the wrong entries wrong
SMALL = 1e-3  # an error below this share is almost right: no missing term is so small
NO_FACTOR = 1e-3  # a factor nearer to 1 than this is a small error of another kind
GROWS = 100.0  # an error that grows this much when inputs shrink comes from a constant beside them

# ------------------------------------------------------------- how much is measured: limits on time and memory

MOST_OUTPUTS = 500  # of a Jacobian made by backward: each costs one backward
MOST_ENTRIES_MOVED = 250_000  # of a Jacobian compared at all places of an axis
MOST_IN_PRODUCT = 20_000  # entries of a product that is tried as a formula
MOST_WATCHED = 500_000  # numbers in a layer that is watched line by line: each line copies what it makes
MOST_INNER = 600  # entries of a layer's variables whose true gradient is measured in full
MOST_VARIABLES = 90  # of a forward, counted in each round of a loop
MOST_MEASURED = 700  # coordinates of one wrong gradient
MOST_ROWS = 16  # of an input; longer ones are cut for the diagnosis
MOST_SETTINGS = 300  # combinations of unnamed numbers that are tried as the settings of a right optimizer
FEW_SETTINGS = 6  # the same for each known mistake: there are many of those
LEAST_BETA = 0.5  # an unnamed number below this is no β of Adam
OPTIMIZER_STEPS = 5  # enough to tell every known path from the others
DIRECTIONS = 2  # along which a variable is compared with a true gradient: one may agree by chance
NEAR_ARRAYS = 9  # arrays, first those that the wrong lines read, that are tried in threes and in sums

# ---------------------------------------------------------------------------------------------- the verdict on an array

TOLERANCE = 1e-6  # worst relative error that passes; a right backward is typically below 1e-9
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # of differences: a coordinate that fails with one step gets the next
INNER_STEP = 1e-5  # of a central difference along a variable of forward, accurate to about 1e-9
SHRINK = 1e-3  # factor for inputs, to see whether an error comes from a constant beside them
FULL_CHECK = 40  # arrays up to this size are checked entry by entry
SAMPLED = 12  # larger ones at this many random coordinates, and along one random direction
PLACES = 6  # at which an experiment measures an array
ROUNDING = 1e7 * 1e-16  # share of the output: an error of 1e-6 above it is no rounding
ROUNDINGS = 80  # that may add up in a gradient: 1e-5 in float32
ROUGH_ERROR = 2e-3  # share of the largest gradient that passes where forward, and so its differences, are in float32
UNSEEN = 1e-9  # a step that float32 cannot see
TINY = 1e-250  # where output and gradient are zero: 0 / TINY is 0, 0 / 0 is not
