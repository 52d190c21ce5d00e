"""Kustomize trees by hand: each is a name, the files, and the directory that is built."""

from __future__ import annotations

from collections.abc import Mapping

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: runner
      containers:
      - name: web
        image: nginx:1.0
        ports: [{containerPort: 80, protocol: TCP}, {containerPort: 81, protocol: TCP}]
        env: [{name: A, value: a}, {name: B, valueFrom: {configMapKeyRef: {name: settings, key: a}}}]
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: keys}}]
      - {name: side, image: "registry.example:5000/side@sha256:abc"}
      volumes:
      - {name: s, secret: {secretName: keys}}
      - {name: p, projected: {sources: [{configMap: {name: settings}}, {secret: {name: keys}}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner}
imagePullSecrets: [{name: keys}]
"""
RIGHTS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get], resourceNames: [settings]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: runner}, {kind: ServiceAccount, name: default, namespace: x}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 0 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: nginx}]}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: w}
spec: {list: [{name: a, v: 1}], deep: {x: 1, w: 2}}
"""
GENERATORS = """\
configMapGenerator:
- {name: settings, literals: ['a=<b>&"c"', "q='quoted'"], files: [base.txt, other=base.txt], envs: [x.env]}
secretGenerator:
- {name: keys, literals: [token=0123456789012345678901234567890123456789012345678901234567890123456789]}
"""
BASE = {
    "base/web.yaml": DEPLOYMENT,
    "base/rights.yaml": RIGHTS,
    "base/base.txt": "line one\nline two\n",
    "base/x.env": "# comment\nENV_A=1\n\nENV_B=two words\n",
    "base/kustomization.yaml": "resources: [web.yaml, rights.yaml]\n" + GENERATORS,
}


def _overlay(text: str, **files: str) -> tuple[Mapping[str, str], str]:
    return {**BASE, "over/kustomization.yaml": "resources: [../base]\n" + text, **files}, "over"


TREES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "base": (BASE, "base"),
    "names": _overlay("namePrefix: p-\nnameSuffix: -s\nnamespace: prod\n"),
    "labels": _overlay(
        "commonLabels: {team: a}\ncommonAnnotations: {note: nn}\n"
        "labels:\n- pairs: {x: why}\n- {pairs: {t: u}, includeTemplates: true}\n"
    ),
    "images": _overlay(
        "images:\n- {name: nginx, newTag: '2'}\n- {name: registry.example:5000/side, newName: other/side, digest: 'sha256:d'}\n"
    ),
    "replicas": _overlay("namePrefix: p-\nreplicas: [{name: web, count: 4}]\n"),
    "strategic": _overlay(
        """\
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, annotations: {a: b}}
    spec:
      template:
        spec:
          containers:
          - {name: added, image: new}
          - name: web
            ports: [{containerPort: 81, protocol: TCP, name: x}, {containerPort: 82, protocol: UDP}]
            env: [{name: C, value: c}, {name: A, $patch: delete}]
          - {name: side, image: null, command: [a, b]}
          volumes: [{name: s, $patch: delete}, {name: e, emptyDir: {}}]
- patch: |
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {$patch: replace, other: why}, ports: [{port: 81}]}
- patch: |
    apiVersion: example.com/v1
    kind: Widget
    metadata: {name: w}
    spec: {list: [{name: b}], deep: {x: null, z: 3}}
- patch: |
    apiVersion: batch/v1
    kind: CronJob
    metadata: {name: nightly}
    $patch: delete
"""
    ),
    "targets": _overlay(
        """\
patches:
- target: {kind: Dep.*|Service, name: w.b}
  patch: |
    - {op: add, path: /metadata/labels, value: {j: p}}
- target: {kind: Role.*}
  path: p.yaml
patchesStrategicMerge: [m.yaml]
patchesJson6902:
- target: {group: apps, version: v1, kind: Deployment, name: web}
  patch: '[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "z"}]'
""",
        **{
            "over/p.yaml": "kind: x\napiVersion: y\nmetadata: {name: ignored, labels: {role: r}}\n",
            "over/m.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {paused: true}\n",
        },
    ),
    "behaviours": _overlay(
        """\
namePrefix: p-
configMapGenerator:
- {name: settings, behavior: merge, literals: [a=changed, new=1]}
- {name: plain, literals: [a=b], options: {disableNameSuffixHash: true, labels: {l: v}, immutable: true}}
secretGenerator:
- {name: keys, behavior: replace, literals: [other=1]}
generatorOptions: {annotations: {g: o}}
"""
    ),
    "replacements": _overlay(
        """\
replacements:
- source: {kind: Service, name: web, fieldPath: "spec.ports.[name=http].port"}
  targets:
  - select: {kind: Deployment}
    fieldPaths: ["spec.template.spec.containers.[name=web].env.[name=A].value"]
- source: {kind: ServiceAccount, name: runner}
  targets:
  - select: {kind: Deployment, name: web}
    options: {delimiter: ":", index: 1}
    fieldPaths: ["spec.template.spec.containers.0.image"]
  - select: {kind: Service}
    options: {create: true}
    fieldPaths: ["metadata.annotations.example\\\\.com/who"]
"""
    ),
    "component": _overlay(
        "components: [../comp]\nnamespace: nn\n",
        **{
            "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n"
            "configMapGenerator: [{name: more, literals: [a=b]}]\n"
        },
    ),
    "two levels": _overlay(
        "namePrefix: a-\n",
        **{
            "top/kustomization.yaml": "resources: [../over, ns.yaml]\n"
            "namePrefix: b-\nnamespace: top\nsortOptions: {order: fifo}\n",
            "top/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: old}\n",
        },
    ),
}
TREES = {**TREES, "two levels": (TREES["two levels"][0], "top")}
