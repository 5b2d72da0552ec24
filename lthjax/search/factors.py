"""The tables of models that other libraries trained, read by the attributes that these document.

None of the libraries is imported. A model of another kind is refused: what looks like factors need not be what it ranks
by. Its arrays can be given to `from_dense` by whoever knows that they are.

Letters: M users, N items, F dimensions.
"""

from typing import Any, NamedTuple

import numpy as np

from lthjax.errors import SettingsError


class Factors(NamedTuple):
    """Tables by whose products a model ranks."""

    user: np.ndarray  # [M, F]
    item: np.ndarray  # [N, F]
    told: dict[str, Any]  # what else the model says: options of `from_dense`


def of(model: Any, dataset: Any = None, user_features: Any = None, item_features: Any = None) -> Factors:
    """The factors of a fitted model of implicit, LightFM or RecBole.

    Args:
      model: fitted.
      dataset: of RecBole.
      user_features: of LightFM.
      item_features: likewise.

    Raises:
      SettingsError: it is none of these, it is not fitted, or something was given that only another has.
    """
    library = _library_of(model)
    extra = {"dataset": dataset, "user_features": user_features, "item_features": item_features}
    allowed = {"implicit": (), "LightFM": ("user_features", "item_features"), "RecBole": ("dataset",)}[library]
    for name, value in extra.items():
        if value is not None and name not in allowed:
            raise SettingsError(f"{name}: wanted none with a model of {library}; got {type(value).__name__}.")
    if library == "implicit":
        return _of_implicit(model)
    return _of_lightfm(model, user_features, item_features) if library == "LightFM" else _of_recbole(model, dataset)


_RECBOLE = ("BPR", "LightGCN")  # others have tables of the same names that they do not rank by


def _library_of(model: Any) -> str:
    if hasattr(model, "user_factors") and hasattr(model, "item_factors"):
        return "implicit"
    if hasattr(model, "get_user_representations") and hasattr(model, "get_item_representations"):
        return "LightFM"
    if hasattr(model, "user_embedding") and hasattr(model, "item_embedding") and type(model).__name__ in _RECBOLE:
        return "RecBole"
    raise SettingsError(
        f"model: wanted one of implicit with factors, of LightFM, or RecBole's {' or '.join(_RECBOLE)}; got "
        f"{type(model).__name__}. lthjax.from_dense takes the arrays of any model that ranks by inner products."
    )


def _of_implicit(model: Any) -> Factors:
    """ALS, BPR and logistic factors; the last two have biases, which are columns of them already."""
    tables = [model.user_factors, model.item_factors]
    if any(table is None for table in tables):
        raise SettingsError(f"model: wanted a fitted one; got {type(model).__name__} without factors.")
    # On a GPU they are matrices of implicit's own.
    user, item = (table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table) for table in tables)
    return Factors(user, item, {})


def _of_lightfm(model: Any, user_features: Any, item_features: Any) -> Factors:
    """Ranks by u v + b_v, without b_u, which is the same for all items of a user."""
    try:
        _, user = model.get_user_representations(user_features)
        item_bias, item = model.get_item_representations(item_features)
    except ValueError as error:
        raise SettingsError(f"model: wanted a fitted one of LightFM, and its features; it says: {error}") from error
    return Factors(np.asarray(user), np.asarray(item), {"item_bias": np.asarray(item_bias)})


def _of_recbole(model: Any, dataset: Any) -> Factors:
    """BPR's tables, or LightGCN's layer 0; row 0 of each is for padding, and ids are those of the dataset."""
    if dataset is None:
        raise SettingsError("dataset: wanted that of RecBole, which knows whose rows these are; got none.")
    tables = [model.user_embedding.weight, model.item_embedding.weight]
    user, item = (np.asarray(table.detach().cpu().numpy())[1:] for table in tables)
    fields = {"user_ids": dataset.uid_field, "item_ids": dataset.iid_field}
    told = {
        name: dataset.id2token(field, np.arange(1, 1 + len(table)))
        for (name, field), table in zip(fields.items(), (user, item), strict=True)
    }
    if type(model).__name__ == "LightGCN":
        told |= {"model": "lightgcn", "layers": int(model.n_layers), "combine": "mean"}
    else:
        told |= {"model": "mf"}
    return Factors(user, item, told)
