"""./dev lab ... and ./dev demo."""
import sys

from .netns import LabError

if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["demo"]:
            from . import demo
            sys.exit(demo.main(sys.argv[2:]))
        from . import labs
        sys.exit(labs.main(sys.argv[1:]))
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
