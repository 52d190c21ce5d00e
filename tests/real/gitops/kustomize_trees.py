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

MORE = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, finalizers: [a/b]}
spec:
  serviceName: web
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: db}}}
      initContainers: [{name: i, image: "nginx"}]
      containers: [{name: c, image: "nginx@sha256:1", volumeMounts: [{name: d, mountPath: /d}]}]
      tolerations: [{key: a, operator: Exists}]
  volumeClaimTemplates: [{metadata: {name: d}, spec: {storageClassName: fast}}]
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: x
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: pdb}
spec: {selector: {matchLabels: {app: db}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: crb}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cr}
subjects:
- {kind: ServiceAccount, name: runner, namespace: default}
- {kind: ServiceAccount, name: stranger, namespace: zz}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: cr}
rules: []
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: vw}
webhooks: [{name: a.b.c, clientConfig: {service: {name: web, namespace: default}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {conversion: {webhook: {clientConfig: {service: {name: web, namespace: default}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  containers: [{name: a, image: nginx}, {name: b, image: nginx}, {name: c, image: nginx}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: pvc}}]
  imagePullSecrets: [{name: keys}]
  priorityClassName: hi
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pvc}
spec: {storageClassName: fast, volumeName: pv}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {storageClassName: fast}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: hi}
value: 1
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {spec: {containers: [{name: c, image: "host/x/nginx:1"}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}
"""


def _with_more(text: str) -> tuple[Mapping[str, str], str]:
    return {
        **BASE,
        "over/more.yaml": MORE,
        "over/kustomization.yaml": f"resources: [../base, more.yaml]\n{text}",
    }, "over"


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
MERGES = """\
patches:
- patch: |
    apiVersion: v1
    kind: Pod
    metadata: {name: pod}
    spec: {containers: [{name: c}, {name: new}, {name: a}]}
- patch: |
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {ports: [{port: 80, targetPort: 9}, {port: 443, name: https}]}
- patch: |
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: db, finalizers: [c/d, a/b]}
    spec: {template: {spec: {tolerations: [{key: z}], nodeSelector: {a: b}}}}
- target: {kind: ServiceAccount}
  patch: |
    - {op: replace, path: /metadata/name, value: runner2}
"""
IMAGES = """\
images:
- {name: nginx, newName: foo}
- {name: host/x/nginx, digest: 'sha256:2'}
- {name: x, newTag: v1, digest: 'sha256:3'}
"""
ORDER = (
    "sortOptions: {order: legacy, legacySortOptions: {orderFirst: [Pod, Service], orderLast: [Namespace, ConfigMap]}}\n"
)
TREES = {
    **TREES,
    "more names": _with_more("namespace: prod\nnamePrefix: p-\nnameSuffix: -s\n"),
    "more labels": _with_more("labels: [{pairs: {t: u}, includeSelectors: true}]\ncommonAnnotations: {v: w}\n"),
    "more templates": _with_more("labels: [{pairs: {t: u}, includeTemplates: true}]\n"),
    "more images": _with_more(IMAGES),
    "more merges": _with_more(MERGES),
    "more order": _with_more(ORDER),
}
TREES = {**TREES, "two levels": (TREES["two levels"][0], "top")}
