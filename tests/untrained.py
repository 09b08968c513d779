"""Write the miniature's models with random weights, for trying the code before the trained ones are there: `python tests/untrained.py FOLDER`."""

import sys
from pathlib import Path

from vwlib.miniature import architectures, export

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
