"""The organisations that the configuration names: with whom one writes, and the document register."""

from typing import Annotated

from pydantic import Field

from accesspoint.config_values import Gln, Sor, Table, Text


class Organisation(Table):
    """An organisation with its address."""

    name: Text
    gln: Gln
    sor: Sor


class Sharing(Organisation):
    """The document register (EMR) that gets a copy of each message of a type that is shared, once it was acknowledged.

    It is found in the directory like any receiver. `home_community` is the OID of the XDS community that documents
    are said to belong to, where one is agreed.
    """

    home_community: Annotated[str, Field(pattern=r"^[0-2](\.[0-9]+)+$")] | None = None
