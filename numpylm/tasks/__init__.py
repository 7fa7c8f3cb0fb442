"""What a model can be trained for: data, loss and metric of each task, one short file each."""

from numpylm.tasks.classification import Classification
from numpylm.tasks.masked_lm import MaskedLM
from numpylm.tasks.translation import Translation
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.task import Task

TASKS: dict[str, type[Task]] = {task.name: task for task in (LanguageModeling, MaskedLM, Translation, Classification)}
