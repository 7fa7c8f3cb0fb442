"""How convincing each finding of a gradient check is: one table, each entry with its reason.

A report says the cause with the largest confidence first. It says how seldom such a finding is wrong: 100 is a fact,
90 a formula that fits every entry, 80 a pattern that fits but leaves the line open, and below 78 a finding is a hint.
Only the order of these numbers matters, and their distance from the thresholds at the end of this file.
"""

# ------------------------------------------------------------------------------------------------- facts, seen at work

UNUSABLE = 100  # the code stops, or there is no gradient of the right shape with finite numbers: nothing to compare
DRAWS_NUMBERS = 99  # a random generator moved on during backward
CHANGES_WEIGHTS = 99  # a parameter has other values after the call
CACHE_OF_ANOTHER = 99  # the cache that an inner backward was given belongs to another call
ONLY_FROM_ZERO = 99  # right if gradients start at zero, wrong if they do not
ONLY_DIRECTLY = 99  # right if backward follows its forward at once, wrong if another forward runs in between
CHANGES_INPUTS = 98  # an input or the upstream gradient has other values after the call
IGNORES_UPSTREAM = 98  # the gradient stays the same for twice the upstream gradient
SHAPE_INSIDE = 98  # a gradient that an inner layer gets has the wrong shape
NOT_LINEAR = 97  # twice the upstream gradient, or its opposite, does not give twice the gradient, or its opposite
NOT_REPEATABLE = 97  # a second backward on the same cache gives another gradient
STOPS_BEING_NUMBERS = 97  # the parameters become NaN or infinite while an optimizer steps
REUSES_OUTPUT = 96  # a second forward changes the output of the first
NOT_MOVED = 95  # an optimizer leaves a parameter where it is
CALL_COUNT = 94  # an inner backward runs too seldom or too often; sometimes that follows from something else

# --------------------------------------------------------------------- the numbers are exactly those of something known

ALL_ZERO = 97  # every entry is zero
KNOWN_PATH = 97  # an optimizer's path equals that of a known mistake
ROWS_OF_SOME_IDS = 97  # wrong in exactly those rows that are padding, or whose id occurs twice
TWO_USES = 96  # wrong in exactly those rows that tell a look-up from a matrix product
GRADIENT_OF_ANOTHER = 96  # equal to the true gradient of another array
KNOWN_VARIANT = 95  # equal to a simulated variant: another forward, another clipping, another optimizer
WRONG_SIGN = 95  # equal to minus the true gradient
MASK_OFF_BY_ONE = 95  # the future leaks by exactly one position, and the last position is right
MASKED_TARGETS = 94  # wrong only where an integer input is negative, which the forward ignores
PICKED_ENTRIES = 94  # wrong at exactly the entries that an integer input picks
TRANSPOSED = 93  # equal to the true gradient with its axes in another order
ONE_OF_MANY = 93  # equal to one part of the sum that it should be
COUNTED_WEIGHTS = 93  # each row has a weight, and the weights are counts of a mask
LOST_PATH = 93  # what is missing equals the gradient through one of several matrices
TRANSPOSED_JACOBIAN = 92  # the Jacobian that backward uses is the true one transposed
RESHAPED = 92  # equal to the true gradient reshaped where it should be transposed
SHIFTED = 92  # every value lands at the same distance from its place; above MOVED
EPSILON = 92  # a small error that grows when the inputs shrink
OTHER_MASK = 92  # an elementwise function that drops other places than its forward
UNCHANGED_INSIDE = 92  # an inner gradient equals another one: a step between them has no backward
ANOTHER_ORDER = 91  # whole slices, or what comes from one output, are exchanged
MIXED_PLACES = 91  # backward mixes places along an axis that forward keeps apart
SOME_SIGNS = 90  # every entry of the Jacobian has the right size, and some have the wrong sign
MOVED = 90  # every value lands at another index, not always at the same distance
MISSING_MIXING = 90  # backward keeps places apart that forward mixes
OTHER_WINDOW = 90  # backward looks through another window of positions
OVERWRITTEN = 90  # what a variable was assigned in all rounds adds up to the true gradient
NAMED_FACTOR = 90  # a constant factor that is a known size, also at other sizes
FACTOR = 89  # a constant factor without a name
KNOWN_TERM = 89  # what is missing, or too much, equals a known array
ELEMENTWISE_FACTOR = 88  # a factor that is a simple function of a known array
WRONG_ORDER = 88  # two inner layers go back in the order of the forward
WEIGHTED_PLACES = 87  # not every place of the output counts once
TERM_OF_ROWS = 85  # what is missing is a multiple of a known array in each row
MASK_ON_DIAGONAL = 85  # no gradient from a position to itself
OTHER_BRANCH = 85  # an inner layer is given a known gradient, and should be given another known one
WRONG_SLOPE = 84  # an elementwise function with a wrong derivative
FORMULA = 84  # what is in a line, or should be there, is a product of known arrays
TERM = 84  # what is missing has a simple form
TERM_OF_LINE = 83  # what is missing in a line is a product of known arrays

# ------------------------------------------------------------------- experiments: right under other conditions, no more

OTHER_IDS = 92  # right if no id occurs twice, or if no target is ignored
MIRRORED = 91  # equal to the gradient of a forward with an array transposed or reversed
WITHOUT_MASK = 90  # right without a mask
WITHOUT_DROPOUT = 88  # right without dropout
WITHOUT_OPTION = 79  # right if an option has its default value; a formula for what is wrong says more
AT_INITIAL_VALUES = 86  # right at the initial values of the parameters
WITH_ONES = 78  # right for an upstream gradient of ones; that has many reasons

# ------------------------------------------------------------------------- patterns that fit and have several reasons

ZEROS_LET_THROUGH = 83  # wrong only where the true gradient (or our output) is zero
FORGOTTEN_PLACES = 82  # zero at whole slices, right elsewhere
ROW_FACTORS = 80  # each row has the right direction and a wrong length
FUTURE_LEAKS = 80  # a position gets a gradient from the future; a wrong transpose looks the same
OTHER_PLACES = 79  # backward connects other places along an axis than forward
LINES = 78  # it goes wrong in one to three lines; no formula was found
WRONG_PLACES = 77  # the right numbers at the wrong places along an axis
WRONG_SUM = 76  # the sum along an axis should be zero
ANOTHER_FACTOR = 74  # a matrix gradient is no product with the input
PASSED_UNCHANGED = 72  # what one inner layer returned goes to another one unchanged
SOMEWHERE_BEFORE = 70  # the first wrong gradient at an inner layer, without a pattern
MANY_LINES = 66  # it goes wrong somewhere in more than three lines
FOLLOWS = 60  # it is made of something that is wrong
SMALL_ERROR = 60  # almost right, for an unknown reason
INNER_LAYER = 60  # an inner layer fails alone, for an unknown reason
SIDE_EFFECT = 60  # an optimizer changes gradients, or clipping returns another norm: bad, but no wrong step
WRONG_PART = 40  # only a part is wrong
UNKNOWN = 10  # no pattern

# ---------------------------------------------------------------------------------------------- changes of a confidence

PART = 1  # less for a pattern that fits a part only: the whole is more convincing
SMALL_TERM = 10  # less for a term so small that chance may have made it
COINCIDENCE = 10  # less for "transposed" where an initial value explains it: a scaled symmetric matrix is its transpose

# ----------------------------------------------------------------------- thresholds: from which confidence on it counts

CLEAR = 90  # an input's own cause of this confidence is kept, even if parameters are wrong, too
NEAREST = 82  # above it a place in the code has a formula: what follows from it is said to follow
EXPLAINS = 78  # from here on a finding is an explanation; below it the code is searched line by line
FIX_FIRST = 75  # above it a parameter's fault may be why another gradient fits no pattern
PATTERN = 70  # above it a pattern fits; below it are guesses
WORTH_SAYING = 50  # a second cause is said from here on,
CLOSE_SECOND = 4  # and if its confidence is at most this much below that of the first
