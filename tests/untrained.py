"""Write the miniature's models for trying the code before all are trained, with random weights where the trained ones are not there yet.

`python tests/untrained.py FOLDER`
"""

import shutil
import sys
from pathlib import Path

from vwlib.miniature import architectures, export
from vwlib.profiles import MODELS

if __name__ == "__main__":
    root = Path(sys.argv[1])
    for name in export.EXPORTS:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "training.json").write_text('{"steps": {"untrained": 0}}')
    export.export_open_clip(architectures.CLASSIFIER, architectures.build_open_clip(architectures.CLASSIFIER, 1).state_dict(), root / "classifier")
    export.export_open_clip(architectures.CLASSIFIER, architectures.build_open_clip(architectures.CLASSIFIER, 7).state_dict(), root / "classifier_twin")
    export.export_open_clip(architectures.JUDGE, architectures.build_open_clip(architectures.JUDGE, 2).state_dict(), root / "judge")
    export.export_detector(architectures.build_detector(3).state_dict(), root / "detector")
    parts = (architectures.build_text_encoder(4), architectures.build_autoencoder(5), architectures.build_unet(6))
    export.export_generator(*(part.state_dict() for part in parts), 1.0, root / "generator")
    for finished in (card.parent for card in MODELS.glob("*/training.json")):
        shutil.copytree(finished, root / finished.name, dirs_exist_ok=True)
