"""What the client tests deploy."""

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: solo, labels: {app: solo, tier: front}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "solo:1", resources: {requests: {cpu: 10m}}}]
"""


def config_map(name: str, **data: str) -> str:
    lines = "".join(f"  {key}: {value!r}\n" for key, value in data.items())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n{lines}"
