"""`zoo faces verify`."""

from __future__ import annotations

from zoo.cli.context import print_json
from zoo.tasks.face.commands.arguments import FacesVerifyFlags


def verify(flags: FacesVerifyFlags) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: a photo shows no face or several, or the model has no threshold.
    """
    from zoo.tasks.face.commands.photos import embedder  # after --help
    from zoo.tasks.face.verification.verify import verify as compare

    model = embedder(flags.model, flags.engine, flags.precision)
    found = compare(model, flags.a, flags.b, threshold=flags.threshold, detector=flags.detector, faces=flags.faces)
    if flags.json:
        print_json(found.to_dict())
        return 0
    low, high = found.undecided
    print(f"{found.answer}: {found.metric} distance {found.distance:.3f}, threshold {found.threshold:g} (source: {found.threshold_from})")
    print(f"below {low:.3g}: same person; above {high:.3g}: different people; in between: undecided")
    return 0
