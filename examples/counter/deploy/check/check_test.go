// Package check checks the manifests of the folder above: that each of them is one, and that they fit
// together. It is a module of its own, since Kubernetes' types are many.
package check

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// An object is any of those below.
type object interface {
	GetName() string
	GetGenerateName() string
}

// kinds makes an empty object of each kind that the manifests have.
var kinds = map[metav1.TypeMeta]func() object{
	{APIVersion: "v1", Kind: "Service"}:                         func() object { return new(corev1.Service) },
	{APIVersion: "v1", Kind: "PersistentVolumeClaim"}:           func() object { return new(corev1.PersistentVolumeClaim) },
	{APIVersion: "apps/v1", Kind: "StatefulSet"}:                func() object { return new(appsv1.StatefulSet) },
	{APIVersion: "batch/v1", Kind: "Job"}:                       func() object { return new(batchv1.Job) },
	{APIVersion: "batch/v1", Kind: "CronJob"}:                   func() object { return new(batchv1.CronJob) },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:      func() object { return new(policyv1.PodDisruptionBudget) },
	{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}: func() object { return new(networkingv1.NetworkPolicy) },
}

// manifests are all objects in the manifests.
type manifests struct {
	services []*corev1.Service
	claims   map[string]bool
	sets     []*appsv1.StatefulSet
	pods     map[string]*corev1.PodTemplateSpec // of everything that runs pods
	budgets  []*policyv1.PodDisruptionBudget
	policies []*networkingv1.NetworkPolicy
}

// read decodes all manifests. A field that Kubernetes doesn't know, or that comes twice, is an error.
func read(t *testing.T) *manifests {
	m := &manifests{claims: map[string]bool{}, pods: map[string]*corev1.PodTemplateSpec{}}
	files, err := filepath.Glob("../kubernetes/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, document := range bytes.Split(text, []byte("\n---\n")) {
			var kind metav1.TypeMeta
			require.NoError(t, yaml.Unmarshal(document, &kind), "%s, document %d", file, i)
			require.Contains(t, kinds, kind, "%s, document %d", file, i)
			o := kinds[kind]()
			require.NoError(t, yaml.UnmarshalStrict(document, o), "%s, document %d", file, i)
			require.NotEmpty(t, o.GetName()+o.GetGenerateName())
			m.add(o)
		}
	}
	return m
}

func (m *manifests) add(o object) {
	switch o := o.(type) {
	case *corev1.Service:
		m.services = append(m.services, o)
	case *corev1.PersistentVolumeClaim:
		m.claims[o.Name] = true
	case *appsv1.StatefulSet:
		m.sets = append(m.sets, o)
		m.pods[o.Name] = &o.Spec.Template
	case *batchv1.Job:
		m.pods[o.GenerateName] = &o.Spec.Template
	case *batchv1.CronJob:
		m.pods[o.Name] = &o.Spec.JobTemplate.Spec.Template
	case *policyv1.PodDisruptionBudget:
		m.budgets = append(m.budgets, o)
	case *networkingv1.NetworkPolicy:
		m.policies = append(m.policies, o)
	}
}

// selects says whether a selector selects the pods of a set.
func selects(selector *metav1.LabelSelector, set *appsv1.StatefulSet) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set.Spec.Template.Labels))
}

// named says whether a container has a port of a name.
func named(c *corev1.Container, port intstr.IntOrString) bool {
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return true
		}
	}
	return false
}

// TestManifests: the servers find each other, those who ask find the servers, and what looks after them
// means them.
func TestManifests(t *testing.T) {
	m := read(t)
	require.Len(t, m.sets, 1)
	set := m.sets[0]
	container := &set.Spec.Template.Spec.Containers[0]
	require.EqualValues(t, 3, *set.Spec.Replicas)
	require.Equal(t, appsv1.ParallelPodManagement, set.Spec.PodManagementPolicy, "no server is ready before a majority runs")
	require.True(t, selects(set.Spec.Selector, set))

	found := false
	for _, s := range m.services {
		require.True(t, selects(&metav1.LabelSelector{MatchLabels: s.Spec.Selector}, set), s.Name)
		for _, p := range s.Spec.Ports {
			require.True(t, named(container, p.TargetPort), "%s: %v", s.Name, p.TargetPort)
		}
		if s.Name == set.Spec.ServiceName {
			found = true
			require.Equal(t, corev1.ClusterIPNone, s.Spec.ClusterIP)
			require.True(t, s.Spec.PublishNotReadyAddresses, "no server is ready before it finds the others")
		} else {
			require.False(t, s.Spec.PublishNotReadyAddresses, "requests go to servers that are ready")
		}
	}
	require.True(t, found)

	require.Len(t, m.budgets, 1)
	require.True(t, selects(m.budgets[0].Spec.Selector, set))
	require.Equal(t, 1, m.budgets[0].Spec.MaxUnavailable.IntValue())
	for _, p := range m.policies {
		require.True(t, selects(&p.Spec.PodSelector, set))
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				require.True(t, named(container, *port.Port), "%v", port.Port)
			}
		}
	}
	require.Equal(t, "/readyz", container.ReadinessProbe.HTTPGet.Path)
	require.Equal(t, "/livez", container.LivenessProbe.HTTPGet.Path)
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
		require.True(t, named(container, probe.HTTPGet.Port))
	}
}

// TestPods: each pod may do little, and mounts what there is.
func TestPods(t *testing.T) {
	m := read(t)
	for name, pod := range m.pods {
		require.True(t, *pod.Spec.SecurityContext.RunAsNonRoot, name)
		require.False(t, *pod.Spec.AutomountServiceAccountToken, name)
		volumes := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
			if v.PersistentVolumeClaim != nil {
				require.True(t, m.claims[v.PersistentVolumeClaim.ClaimName], "%s: %s", name, v.PersistentVolumeClaim.ClaimName)
			}
		}
		for _, set := range m.sets {
			for _, claim := range set.Spec.VolumeClaimTemplates {
				volumes[claim.Name] = volumes[claim.Name] || set.Name == name
			}
		}
		if name != m.sets[0].Name { // an operator
			requireAdmitted(t, m, pod)
		}
		for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, name)
			require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, name)
			for _, mount := range c.VolumeMounts {
				require.True(t, volumes[mount.Name], "%s: %s", name, mount.Name)
			}
		}
	}
}

// requireAdmitted requires that the servers' network lets a pod through to the administration, and to
// nothing between the servers.
func requireAdmitted(t *testing.T, m *manifests, pod *corev1.PodTemplateSpec) {
	var open []string
	for _, p := range m.policies {
		for _, rule := range p.Spec.Ingress {
			for _, from := range rule.From {
				selector, err := metav1.LabelSelectorAsSelector(from.PodSelector)
				require.NoError(t, err)
				if selector.Matches(labels.Set(pod.Labels)) {
					for _, port := range rule.Ports {
						open = append(open, port.Port.StrVal)
					}
				}
			}
		}
	}
	require.Equal(t, []string{"admin"}, open)
}
