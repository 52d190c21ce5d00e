// What a program on @kubernetes/client-node does: argv are the kubeconfig and a namespace; prints one JSON object.
import * as k8s from '@kubernetes/client-node';
import { Writable } from 'node:stream';

const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const told = {};

async function until(condition, what) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`still not: ${what}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}

// An informer: a list, then a watch from its version on.
const seen = [];
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/secrets`, () =>
  core.listNamespacedSecret({ namespace }));
for (const verb of ['add', 'update', 'delete']) informer.on(verb, (found) => seen.push(`${verb} ${found.metadata.name}`));
informer.on('error', (error) => { told.informerError = String(error); });
await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'first' }, stringData: { a: 'b' } } });
await informer.start();
await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'second' } } });
await until(() => seen.includes('add second'), 'the second secret is seen');
await core.patchNamespacedSecret(
  { namespace, name: 'second', body: { metadata: { labels: { x: 'y' } } } },
  k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
await until(() => seen.includes('update second'), 'the label is seen');
await core.deleteNamespacedSecret({ namespace, name: 'first' });
await until(() => seen.includes('delete first'), 'the deletion is seen');
await informer.stop();
told.seen = seen;
told.cached = informer.list(namespace).map((found) => found.metadata.name);

// Objects of any kind, found through discovery.
const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace }, data: { a: '1' } };
told.made = (await objects.create(configMap)).data;
told.strategic = (await objects.patch({ ...configMap, data: { b: '2' } })).data;
const steps = [{ op: 'remove', path: '/data/a' }];
told.json = (await core.patchNamespacedConfigMap(
  { namespace, name: 'c', body: steps }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch))).data;
const applied = await objects.patch(
  { ...configMap, data: { c: '3' } }, undefined, undefined, 'javascript', true, k8s.PatchStrategy.ServerSideApply);
told.applied = [applied.data, applied.metadata.managedFields.map((entry) => `${entry.manager} ${entry.operation}`)];
try {
  await objects.create(configMap);
} catch (refusal) {
  told.refusal = [refusal.code, JSON.parse(refusal.body).reason];
}
await objects.delete(configMap);
try {
  await objects.read(configMap);
} catch (refusal) {
  told.gone = refusal.code;
}

// A pod, its log and a command in it.
const pod = {
  metadata: { name: 'p' },
  spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image: 'solo:1' }] },
};
await core.createNamespacedPod({ namespace, body: pod });
await until(async () => (await core.readNamespacedPod({ namespace, name: 'p' })).status.phase === 'Running', 'the pod runs');
told.log = await core.readNamespacedPodLog({ namespace, name: 'p' });
const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
told.command = await new Promise((ended, failed) =>
  new k8s.Exec(config).exec(namespace, 'p', 'main', ['true'], nowhere, nowhere, null, false, (status) => ended(status.status))
    .catch(failed));
await core.deleteNamespacedPod({ namespace, name: 'p', gracePeriodSeconds: 0 });
process.stdout.write(JSON.stringify(told));
process.exit(0);
