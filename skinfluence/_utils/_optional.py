"""Import optional dependencies where they are used, naming the extra that installs them."""

import importlib


def require(module, *, extra):
    """Import ``module`` or say which extra installs it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of this package that installs it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the module is not installed. The message holds the command to run.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This feature needs the package {module.partition('.')[0]!r}, which is not "
            f'installed. Install it with: pip install "skinfluence[{extra}]"'
        ) from error
