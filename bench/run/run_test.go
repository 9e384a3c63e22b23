package main

import (
	"strings"
	"testing"
)

func TestSpreadAndQuotients(t *testing.T) {
	lo, mid, hi, n := spread(map[int]float64{1: 4, 2: 1, 3: 2})
	if lo != 1 || mid != 2 || hi != 4 || n != 3 {
		t.Fatalf("%v %v %v %d", lo, mid, hi, n)
	}
	if _, mid, _, _ := spread(map[int]float64{1: 1, 2: 2}); mid != 1.5 {
		t.Fatalf("the median of two is %v", mid)
	}
	q := quotients(map[int]float64{1: 10, 2: 30, 3: 5}, map[int]float64{1: 5, 2: 10, 4: 1})
	if len(q) != 2 || q[1] != 2 || q[2] != 3 {
		t.Fatalf("%v: only rounds that both have count", q)
	}
}

func TestReplaceSectionKeepsTheRest(t *testing.T) {
	page := "# Title\n"
	page, err := replaceSection(page, "a+b", "one\n")
	if err != nil {
		t.Fatal(err)
	}
	page += "after\n"
	if page, err = replaceSection(page, "a+b", "two\n"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page, "one") || strings.Count(page, "two") != 1 || !strings.HasPrefix(page, "# Title\n") || !strings.HasSuffix(page, "after\n") {
		t.Fatal(page)
	}
	if _, err := replaceSection("<!-- begin x -->\n", "x", "t"); err == nil {
		t.Fatal("a marker without an end was taken")
	}
}

func TestSectionsOfTwoDisksStayApart(t *testing.T) {
	o := options{systems: []string{tidemarkName, ceilingName}}
	disk := o
	disk.section = "disk"
	page := "# Title\n"
	for _, x := range []options{o, disk, o, disk} {
		var err error
		if page, err = replaceSection(page, section(x), (&report{}).markdown(x)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(page, "### tidemark, ceiling\n") != 1 || strings.Count(page, "### tidemark, ceiling: disk\n") != 1 {
		t.Fatal(page)
	}
}

func TestFailedResultsHaveNoNumbers(t *testing.T) {
	r := &report{}
	r.add(1, tidemarkName, "one-1", metrics{{"p50, ms", 1}}, nil)
	r.add(2, tidemarkName, "one-1", metrics{{"p50, ms", 9}}, errTest{})
	r.add(1, kafkaName, "one-1", metrics{{"p50, ms", 4}}, nil)
	o := options{systems: []string{tidemarkName, kafkaName}, scenarios: []string{"one-1"}}
	md := r.markdown(o)
	if !strings.Contains(md, "| p50, ms | **1.00** | **4.00** | 0.25 |") || !strings.Contains(md, "Failed: tidemark, one-1, round 2: broken") {
		t.Fatal(md)
	}
}

type errTest struct{}

func (errTest) Error() string { return "broken" }

func TestChooseScenarios(t *testing.T) {
	if got, err := choose("one-1,start"); err != nil || strings.Join(got, " ") != "start one-1" {
		t.Fatalf("%v %v: the order is the list's", got, err)
	}
	if _, err := choose("one-1,nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("%v", err)
	}
	all, _ := choose("all")
	some, _ := choose("default")
	if len(all) <= len(some) || len(all) != len(scenarios()) {
		t.Fatalf("%d in all, %d by default", len(all), len(some))
	}
}
