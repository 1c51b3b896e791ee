"""The errors a user can meet: one sentence each (what, where, why, and what mends it) and a stable code.

What a user can mend is a `FitkitError`; any other exception that escapes is a defect of fitkit.
Divergence of a fit is not an error: it is data, `FitResult.status`. `visible` shows text of a stranger's making on one line.
"""

import unicodedata

# code -> exit status of the command line (1 photo failed, 2 usage, 3 missing data, 4 device, 5 output not writable)
EXIT_STATUS = {
    "E_NOFILE": 1,      # the photo does not exist
    "E_EMPTYDIR": 1,    # a directory without images
    "E_NOTIMAGE": 1,    # empty, truncated, HTML or another kind of file
    "E_TOOLARGE": 1,    # over 100 megapixels, refused from the header
    "E_NOFACE": 1,      # no face found
    "E_SMALLFACE": 1,   # the face is under 32 px
    "E_LANDMARKS": 1,   # a landmark file or array that holds no points of a face in the photo
    "E_RESULT": 1,      # not a result folder, or a damaged one
    "E_SCAN": 1,        # a scan, mesh or depth map that cannot be measured
    "E_MANIFEST": 1,    # a list of photos that cannot be read, or a row of it
    "E_TIMEOUT": 1,     # the fit of a photo took longer than it may
    "E_MEMORY": 1,      # the fit of a photo needs more memory than there is
    "E_CRASH": 1,       # a photo ended the process that fitted it
    "E_EXISTS": 1,      # the result folder is there already
    "E_USAGE": 2,       # an argument of an impossible value
    "E_RECIPE": 2,      # unknown recipe
    "E_HEAD": 2,        # unknown head
    "E_FIELD": 2,       # unknown recipe field, or a value of the wrong type
    "E_DATA": 3,        # embedded data or an extra is missing
    "E_DEVICE": 4,      # no such device
    "E_OUTPUT": 5,      # the output cannot be written
}

LONGEST = 1200                  # characters of a message; of a longer one the middle is left out: names and files can be long
JOINERS = "\u200c\u200d"        # invisible, but part of words and of emoji in names


class FitkitError(Exception):
    """An error the user can mend.

    Attributes:
        code: one of the keys of `EXIT_STATUS`.
        message: one sentence: what, where, why, and the command or argument that mends it; on one line, control characters escaped.
    """

    def __init__(self, code: str, message: str):
        if len(message) > LONGEST:
            message = f"{message[:2 * LONGEST // 3]} ... {message[-LONGEST // 3:]}"
        self.code = code
        self.message = visible(message)
        super().__init__(f"{code}: {self.message}")

    def __reduce__(self) -> tuple[type["FitkitError"], tuple[str, str]]:
        return FitkitError, (self.code, self.message)      # a worker process hands it back

    @property
    def exit_status(self) -> int:
        """Exit status of the command line for this error."""
        return EXIT_STATUS[self.code]


def visible(text: str) -> str:
    """Text on one line that cannot act on a terminal: what controls it, breaks a line or turns it round is written `\\x1b`.

    File names, members of archives and what a library says of them come from strangers.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    # control, format (direction, invisible), lone surrogate (a name that is no UTF-8), line and paragraph separator
    acts = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in JOINERS
    return character.encode("unicode_escape").decode() if acts else character
