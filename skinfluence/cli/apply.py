"""``skinfluence apply``: carry out what was decided in the review sheet."""

import json
from pathlib import Path

from skinfluence._utils._optional import require
from skinfluence.cleaning.decisions import carry_out, cleaned_path
from skinfluence.cleaning.outputs import write_together
from skinfluence.cli.files import refuse_to_write_over


def run(arguments, command):
    """Write the table with the decisions carried out, and print what changed."""
    for module in ["pandas", *([] if arguments.json or arguments.quiet else ["rich"])]:
        require(module, extra="audit")
    out = cleaned_path(arguments.file) if arguments.out is None else Path(arguments.out)
    for given in (arguments.file, arguments.decisions):
        refuse_to_write_over(out, given)
    content, changes, decisions = carry_out(arguments.file, arguments.decisions, out)
    write_together({out: content})
    if arguments.json:
        summary = {"target": decisions.target, "decided": len(decisions.given), "file": str(out)}
        print(json.dumps({**summary, "changes": changes}, indent=2))
    elif not arguments.quiet:
        from skinfluence.cleaning.printing import print_changes

        print_changes(changes, decisions, out)
