"""What a model can be trained for: data, loss and metric of each task, one short file each."""

from numpylm.tasks.chat import Chat
from numpylm.tasks.classification import Classification
from numpylm.tasks.code import Code
from numpylm.tasks.in_context import InContext
from numpylm.tasks.masked_lm import MaskedLM
from numpylm.tasks.poems import Poems
from numpylm.tasks.preference import PreferenceTuning
from numpylm.tasks.speech import Speech
from numpylm.tasks.translation import Translation
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.task import Task

CLASSES: tuple[type[Task], ...] = (
    LanguageModeling,
    MaskedLM,
    Translation,
    Classification,
    Chat,
    PreferenceTuning,
    Speech,
    Poems,
    Code,
    InContext,
)
TASKS = {task.name: task for task in CLASSES}
