// Package podautoscaler gets this file beside the controller's own: it answers cases with their functions.
package podautoscaler

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

type podCase struct {
	Started, Changed float64 // Seconds ago.
	Running, Ready   bool
	Stopping         bool
	Usage            *int64 // Thousandths of a core.
	Age, Window      float64
}

type metricCase struct {
	Kind     string
	Target   int64
	Request  int64
	Current  int32
	Replicas int32
	Value    int64
	Pods     []podCase
	Answer   *int32
}

type step struct {
	At     float64
	Wanted int32
	Answer int32
}

type changeCase struct {
	Least, Most, Start int32
	Behavior           *autoscalingv2.HorizontalPodAutoscalerBehavior
	Steps              []step
}

type cases struct {
	Metrics []metricCase
	Changes []changeCase
}

// Answers fills in the answers of the cases that it reads.
func Answers(input io.Reader, output io.Writer) error {
	var every cases
	if err := json.NewDecoder(input).Decode(&every); err != nil {
		return err
	}
	for i := range every.Metrics {
		every.Metrics[i].answer()
	}
	for i := range every.Changes {
		every.Changes[i].answer()
	}
	return json.NewEncoder(output).Encode(every)
}

type fixedMetrics struct {
	pods  metricsclient.PodMetricsInfo
	value int64
}

func (f fixedMetrics) GetResourceMetric(context.Context, v1.ResourceName, string, labels.Selector, string) (metricsclient.PodMetricsInfo, time.Time, error) {
	return f.pods, time.Now(), nil
}
func (f fixedMetrics) GetRawMetric(string, string, labels.Selector, labels.Selector) (metricsclient.PodMetricsInfo, time.Time, error) {
	panic("not asked")
}
func (f fixedMetrics) GetObjectMetric(string, string, *autoscalingv2.CrossVersionObjectReference, labels.Selector) (int64, time.Time, error) {
	panic("not asked")
}
func (f fixedMetrics) GetExternalMetric(string, string, labels.Selector) ([]int64, time.Time, error) {
	return []int64{f.value}, time.Now(), nil
}

func (c *metricCase) answer() {
	now := time.Now()
	ago := func(seconds float64) metav1.Time {
		return metav1.NewTime(now.Add(-time.Duration(seconds * float64(time.Second))))
	}
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	metrics := fixedMetrics{metricsclient.PodMetricsInfo{}, c.Value}
	for i, one := range c.Pods {
		name, started := fmt.Sprintf("pod-%d", i), ago(one.Started)
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n"}}
		pod.Status.Phase, pod.Status.StartTime = v1.PodPending, &started
		if one.Running {
			pod.Status.Phase = v1.PodRunning
		}
		if one.Stopping {
			gone := ago(0)
			pod.DeletionTimestamp = &gone
		}
		condition := v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionFalse, LastTransitionTime: ago(one.Changed)}
		if one.Ready {
			condition.Status = v1.ConditionTrue
		}
		pod.Status.Conditions = []v1.PodCondition{condition}
		requests := v1.ResourceList{v1.ResourceCPU: *resource.NewMilliQuantity(c.Request, resource.DecimalSI)}
		pod.Spec.Containers = []v1.Container{{Name: "worker", Resources: v1.ResourceRequirements{Requests: requests}}}
		if err := indexer.Add(pod); err != nil {
			panic(err)
		}
		if one.Usage != nil {
			window := time.Duration(one.Window * float64(time.Second))
			metrics.pods[name] = metricsclient.PodMetric{Timestamp: ago(one.Age).Time, Window: window, Value: *one.Usage}
		}
	}
	calculator := NewReplicaCalculator(metrics, corelisters.NewPodLister(indexer), 5*time.Minute, 30*time.Second)
	tolerances, every := Tolerances{0.1, 0.1}, &metav1.LabelSelector{}
	var count int32
	var err error
	switch c.Kind {
	case "cpu":
		count, _, _, _, err = calculator.GetResourceReplicas(context.TODO(), c.Current, int32(c.Target), v1.ResourceCPU, tolerances, "n", labels.Everything(), "")
	case "age":
		count, _, _, err = calculator.GetExternalMetricReplicas(c.Current, c.Target, "m", tolerances, "n", every, labels.Everything())
	case "depth":
		count, _, _, err = calculator.GetExternalPerPodMetricReplicas(c.Replicas, c.Target, "m", tolerances, "n", every)
	}
	if err == nil {
		c.Answer = &count
	}
}

func (c *changeCase) answer() {
	controller := &HorizontalController{
		downscaleStabilisationWindow: 5 * time.Minute,
		recommendations:              map[string][]timestampedRecommendation{},
		scaleUpEvents:                map[string][]timestampedScaleEvent{},
		scaleDownEvents:              map[string][]timestampedScaleEvent{},
	}
	current, before := c.Start, 0.0
	for i := range c.Steps {
		one := &c.Steps[i]
		// The controller asks for the time itself. So what it remembers grows older instead.
		controller.grow(time.Duration((one.At - before) * float64(time.Second)))
		before = one.At
		hpa := &autoscalingv2.HorizontalPodAutoscaler{}
		hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas, hpa.Spec.Behavior = &c.Least, c.Most, c.Behavior.DeepCopy()
		controller.recordInitialRecommendation(current, "k")
		if hpa.Spec.Behavior == nil {
			one.Answer = controller.normalizeDesiredReplicas(hpa, "k", current, one.Wanted, c.Least)
		} else {
			one.Answer = controller.normalizeDesiredReplicasWithBehaviors(hpa, "k", current, one.Wanted, c.Least)
		}
		if one.Answer != current {
			controller.storeScaleEvent(hpa.Spec.Behavior, "k", current, one.Answer)
		}
		current = one.Answer
	}
}

func (a *HorizontalController) grow(by time.Duration) {
	for i := range a.recommendations["k"] {
		a.recommendations["k"][i].timestamp = a.recommendations["k"][i].timestamp.Add(-by)
	}
	for _, events := range [][]timestampedScaleEvent{a.scaleUpEvents["k"], a.scaleDownEvents["k"]} {
		for i := range events {
			events[i].timestamp = events[i].timestamp.Add(-by)
		}
	}
}
