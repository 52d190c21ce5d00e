"""ValidatingAdmissionPolicy as a plugin: nothing but two look-ups while no policy is bound.

What evaluates them, and with it the expression language, is loaded when the first one is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.apiserver.admission.api import Attributes, Validating
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.state import State, TableId
from cluster.resources.admission_policies import GROUP
from cluster.resources.catalog import Catalog

if TYPE_CHECKING:
    from cluster.apiserver.admission.policy_evaluation import PolicyEvaluation

POLICIES = TableId(GROUP, "validatingadmissionpolicies")
BINDINGS = TableId(GROUP, "validatingadmissionpolicybindings")


class Policies(Validating):
    def __init__(self, *, state: State, catalog: Catalog, authorizer: Authorizer) -> None:
        self._state = state
        self._catalog = catalog
        self._authorizer = authorizer
        self._evaluation: PolicyEvaluation | None = None

    def validate(self, attributes: Attributes) -> None:
        """Raises ApiError for the first policy, by name, that denies the request."""
        if not self._state.table(BINDINGS).rows or not self._state.table(POLICIES).rows:
            return
        if self._evaluation is None:
            from cluster.apiserver.admission.policy_evaluation import PolicyEvaluation

            self._evaluation = PolicyEvaluation(self._state, self._catalog, self._authorizer)
        self._evaluation.validate(attributes)
