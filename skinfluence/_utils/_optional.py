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
        If the module is not installed, with the command to run; or is, and fails to be imported.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise ImportError(
                f"This feature needs the package {package!r}, which is not installed. Install it "
                f'with: pip install "skinfluence[{extra}]"'
            ) from error
        raise ImportError(
            f"This feature needs the package {package!r}, which is installed but cannot be "
            f"imported: {error}. Its version and those of its own requirements may not go "
            f'together; try: pip install --upgrade "skinfluence[{extra}]"'
        ) from error
