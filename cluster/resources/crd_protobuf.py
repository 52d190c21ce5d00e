"""The protobuf field numbers of apiextensions.k8s.io/v1, which no client binary at hand carries.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/v1/generated.proto.  Message to field number to (JSON name, kind,
flags), as in `machinery.protobuf`.  Read by the generator only.
"""

from __future__ import annotations

from collections.abc import Mapping

CRD_PACKAGE = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"

_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_SCHEMA = "JSONSchemaProps"


def _fields(**named: tuple[int, str, str]) -> dict[str, tuple[str, str, str]]:
    return {str(number): (_JSON_NAMES.get(name, name), kind, flags) for name, (number, kind, flags) in named.items()}


_JSON_NAMES = {
    "ref": "$ref",
    "schema_": "$schema",
    "not_": "not",
    "xPreserveUnknownFields": "x-kubernetes-preserve-unknown-fields",
    "xEmbeddedResource": "x-kubernetes-embedded-resource",
    "xIntOrString": "x-kubernetes-int-or-string",
    "xListMapKeys": "x-kubernetes-list-map-keys",
    "xListType": "x-kubernetes-list-type",
    "xMapType": "x-kubernetes-map-type",
    "xValidations": "x-kubernetes-validations",
}


def _string(number: int) -> tuple[int, str, str]:
    return (number, "string", "")


def _strings(number: int) -> tuple[int, str, str]:
    return (number, "string", "r")


def _bool(number: int) -> tuple[int, str, str]:
    return (number, "bool", "")


def _int(number: int) -> tuple[int, str, str]:
    return (number, "int", "")


def _double(number: int) -> tuple[int, str, str]:
    return (number, "double", "")


def _one(number: int, kind: str) -> tuple[int, str, str]:
    return (number, kind, "")


def _many(number: int, kind: str) -> tuple[int, str, str]:
    return (number, kind, "r")


def _map(number: int, entry: str) -> tuple[int, str, str]:
    return (number, entry, "m")


CRD_MESSAGES: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "CustomResourceDefinition": _fields(
        metadata=_one(1, _META + "ObjectMeta"),
        spec=_one(2, "CustomResourceDefinitionSpec"),
        status=_one(3, "CustomResourceDefinitionStatus"),
    ),
    "CustomResourceDefinitionSpec": _fields(
        group=_string(1),
        names=_one(3, "CustomResourceDefinitionNames"),
        scope=_string(4),
        versions=_many(7, "CustomResourceDefinitionVersion"),
        conversion=_one(9, "CustomResourceConversion"),
        preserveUnknownFields=_bool(10),
    ),
    "CustomResourceDefinitionNames": _fields(
        plural=_string(1),
        singular=_string(2),
        shortNames=_strings(3),
        kind=_string(4),
        listKind=_string(5),
        categories=_strings(6),
    ),
    "CustomResourceDefinitionVersion": _fields(
        name=_string(1),
        served=(2, "bool", "0"),
        storage=(3, "bool", "0"),
        schema=_one(4, "CustomResourceValidation"),
        subresources=_one(5, "CustomResourceSubresources"),
        additionalPrinterColumns=_many(6, "CustomResourceColumnDefinition"),
        deprecated=_bool(7),
        deprecationWarning=_string(8),
        selectableFields=_many(9, "SelectableField"),
    ),
    "CustomResourceColumnDefinition": _fields(
        name=_string(1),
        type=_string(2),
        format=_string(3),
        description=_string(4),
        priority=_int(5),
        jsonPath=_string(6),
    ),
    "SelectableField": _fields(jsonPath=_string(1)),
    "CustomResourceConversion": _fields(strategy=_string(1), webhook=_one(2, "WebhookConversion")),
    "WebhookConversion": _fields(clientConfig=_one(2, "WebhookClientConfig"), conversionReviewVersions=_strings(3)),
    "WebhookClientConfig": _fields(service=_one(1, "ServiceReference"), caBundle=_one(2, "bytes"), url=_string(3)),
    "ServiceReference": _fields(namespace=_string(1), name=_string(2), path=_string(3), port=_int(4)),
    "CustomResourceSubresources": _fields(
        status=_one(1, "CustomResourceSubresourceStatus"), scale=_one(2, "CustomResourceSubresourceScale")
    ),
    "CustomResourceSubresourceStatus": {},
    "CustomResourceSubresourceScale": _fields(
        specReplicasPath=_string(1), statusReplicasPath=_string(2), labelSelectorPath=_string(3)
    ),
    "CustomResourceValidation": _fields(openAPIV3Schema=_one(1, _SCHEMA)),
    "CustomResourceDefinitionStatus": _fields(
        conditions=_many(1, "CustomResourceDefinitionCondition"),
        acceptedNames=_one(2, "CustomResourceDefinitionNames"),
        storedVersions=_strings(3),
    ),
    "CustomResourceDefinitionCondition": _fields(
        type=_string(1),
        status=_string(2),
        lastTransitionTime=_one(3, _META + "Time"),
        reason=_string(4),
        message=_string(5),
    ),
    "JSON": _fields(raw=_one(1, "bytes")),
    "JSONSchemaPropsOrArray": {},
    "JSONSchemaPropsOrBool": {},
    "JSONSchemaPropsOrStringArray": {},
    "ExternalDocumentation": _fields(description=_string(1), url=_string(2)),
    "ValidationRule": _fields(
        rule=_string(1),
        message=_string(2),
        messageExpression=_string(3),
        reason=_string(4),
        fieldPath=_string(5),
        optionalOldSelf=_bool(6),
    ),
    "SchemaEntry": _fields(key=_string(1), value=_one(2, _SCHEMA)),
    "DependencyEntry": _fields(key=_string(1), value=_one(2, "JSONSchemaPropsOrStringArray")),
    "JSONSchemaProps": _fields(
        id=_string(1),
        schema_=_string(2),
        ref=_string(3),
        description=_string(4),
        type=_string(5),
        format=_string(6),
        title=_string(7),
        default=_one(8, "JSON"),
        maximum=_double(9),
        exclusiveMaximum=_bool(10),
        minimum=_double(11),
        exclusiveMinimum=_bool(12),
        maxLength=_int(13),
        minLength=_int(14),
        pattern=_string(15),
        maxItems=_int(16),
        minItems=_int(17),
        uniqueItems=_bool(18),
        multipleOf=_double(19),
        enum=_many(20, "JSON"),
        maxProperties=_int(21),
        minProperties=_int(22),
        required=_strings(23),
        items=_one(24, "JSONSchemaPropsOrArray"),
        allOf=_many(25, _SCHEMA),
        oneOf=_many(26, _SCHEMA),
        anyOf=_many(27, _SCHEMA),
        not_=_one(28, _SCHEMA),
        properties=_map(29, "SchemaEntry"),
        additionalProperties=_one(30, "JSONSchemaPropsOrBool"),
        patternProperties=_map(31, "SchemaEntry"),
        dependencies=_map(32, "DependencyEntry"),
        additionalItems=_one(33, "JSONSchemaPropsOrBool"),
        definitions=_map(34, "SchemaEntry"),
        externalDocs=_one(35, "ExternalDocumentation"),
        example=_one(36, "JSON"),
        nullable=_bool(37),
        xPreserveUnknownFields=_bool(38),
        xEmbeddedResource=_bool(39),
        xIntOrString=_bool(40),
        xListMapKeys=_strings(41),
        xListType=_string(42),
        xMapType=_string(43),
        xValidations=_many(44, "ValidationRule"),
    ),
}
