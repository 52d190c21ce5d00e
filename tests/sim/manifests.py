"""What the scenarios commit."""

from __future__ import annotations

from collections.abc import Mapping

WEB = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data: {{greeting: "{greeting}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: web
          image: web:{version}
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
          env: [{{name: GREETING, valueFrom: {{configMapKeyRef: {{name: web, key: greeting}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http}}]
"""


def web(*, version: int = 1, replicas: int = 2, greeting: str = "Hello") -> Mapping[str, str]:
    return {"web.yaml": WEB.format(version=version, replicas=replicas, greeting=greeting)}
